"""What `droptune doctor` found: one line per thing that a run will need."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class CheckStatus(StrEnum):
    OK = "ok"
    FIX = "fix"
    SKIPPED = "skipped"


class Check(BaseModel):
    """One check. `skipped` was not looked at, for the reason in `detail`; only `fix` asks for something to be done."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: CheckStatus
    detail: str
    fix: str = Field(default="", description="what to do; empty unless the status is `fix`")
