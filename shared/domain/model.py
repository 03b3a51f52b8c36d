"""The base of all models that are stored, sent or read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and refuses a field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
