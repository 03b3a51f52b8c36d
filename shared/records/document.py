"""What every stored document begins with."""

from __future__ import annotations

from datetime import datetime

from shared.domain.upgrades import SCHEMA_VERSION
from shared.ports import Document


def head(type: str, id: str | None = None) -> Document:
    """`id` is the type's name where a partition has one document of the type."""
    return {"id": id or type, "type": type, "schema_version": SCHEMA_VERSION}


def time_of(text: str) -> datetime:
    """A stored time. Raises TypeError or ValueError, also if it has no zone or is of no clock that we ran by."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time.year < 2000:
        raise ValueError("not a time with a zone since 2000")
    return time
