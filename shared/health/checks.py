"""What `droptune doctor` found: one line per thing that a run will need."""

from enum import StrEnum
from typing import Self

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

    @classmethod
    def ok(cls, name: str, detail: str) -> Self:
        return cls(name=name, status=CheckStatus.OK, detail=detail)

    @classmethod
    def to_fix(cls, name: str, detail: str, fix: str) -> Self:
        return cls(name=name, status=CheckStatus.FIX, detail=detail, fix=fix)

    @classmethod
    def skipped(cls, name: str, detail: str) -> Self:
        return cls(name=name, status=CheckStatus.SKIPPED, detail=detail)
