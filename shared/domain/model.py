"""The base of all models that are stored, sent or read."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Frozen(BaseModel):
    """Immutable, and refuses a field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def finite(value: Any) -> Any:
    """The value, or None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# A measured number that is NaN or infinite is null: JSON has no such numbers.
Measured = Annotated[float | None, BeforeValidator(finite)]
