"""The base of all models that are stored, sent or read."""

import math
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from shared.domain.errors import shortened

MAX_PERSON, MAX_COMMENT, MAX_TEXT = 1000, 2000, 500  # characters
MAX_ITEMS = 100


class Lenient(BaseModel):
    """Immutable, and ignores a field that it does not know."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class Frozen(Lenient):
    """Refuses a field that it does not know."""

    model_config = ConfigDict(extra="forbid")


class Finite(Frozen):
    """What a person writes: NaN and infinity, which JSON has not, are refused."""

    model_config = ConfigDict(allow_inf_nan=False)


def finite(value: Any) -> Any:
    """The value, or None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# A measured number that is NaN or infinite is null: JSON has no such numbers.
Measured = Annotated[float | None, BeforeValidator(finite)]


def utc(time: datetime) -> datetime:
    """The time; one without a zone is of UTC. Raises ValueError for one that may have no counterpart in UTC."""
    if not 1 < time.year < 9999:
        raise ValueError("no clock shows that time")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


UtcTime = Annotated[datetime, AfterValidator(utc)]

# Of what jobs write, which becomes a part of the run and of its events.
Text = Annotated[str, AfterValidator(partial(shortened, characters=MAX_TEXT))]
FirstItems = AfterValidator(
    lambda items: type(items)(islice(items.items() if isinstance(items, dict) else items, MAX_ITEMS))
)

# Of what is read: the API refuses longer ones.
Person = Annotated[str, AfterValidator(partial(shortened, characters=MAX_PERSON))]
Comment = Annotated[str, AfterValidator(partial(shortened, characters=MAX_COMMENT))]
