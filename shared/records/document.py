"""What every stored document begins with."""

from __future__ import annotations

from shared.domain.upgrades import SCHEMA_VERSION
from shared.ports import Document


def head(type: str, id: str | None = None) -> Document:
    """`id` is the type's name where a partition has one document of the type."""
    return {"id": id or type, "type": type, "schema_version": SCHEMA_VERSION}
