"""What every stored document begins with."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shared.domain.upgrades import SCHEMA_VERSION, with_unknown
from shared.ports import Document, Stored, Write

Model = TypeVar("Model", bound=BaseModel)


def head(type: str, id: str | None = None) -> Document:
    """`id` is the type's name where a partition has one document of the type."""
    return {"id": id or type, "type": type, "schema_version": SCHEMA_VERSION}


def put(
    id: str, document: Document, stored: Stored | None, known: Document | None = None, *, ttl_s: int | None = None
) -> Write:
    """The write that creates a document, or puts it in the place of the one that was read.

    It keeps the fields that a later version put into that: those that are not in `known`, which is what this version
    would have stored; without `known` those that `document` does not name.
    """
    if stored is None:
        return Write("create", id, document, ttl_s=ttl_s)
    version = stored.document.get("schema_version")
    if document.get("schema_version", version) == version:
        document = with_unknown(stored.document, known or {}, document)
    return Write("replace", id, document, stored.etag, ttl_s)


def time_of(text: str) -> datetime:
    """A stored time. Raises TypeError or ValueError, also if it has no zone or is of no clock that we ran by."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time.year < 2000:
        raise ValueError("not a time with a zone since 2000")
    return time


def salvaged_as(model: type[Model], known: Document, content: object, **names: str) -> Model | None:
    """`content` without the fields that cannot be read, `known` in their place and `names` in any case; None if even
    that does not make a `model`."""
    content = content if isinstance(content, dict) else {}
    for _ in range(2):
        try:
            return model.model_validate({**known, **content, **names}, extra="ignore")
        except ValidationError as error:
            wrong = {line["loc"][0] for line in error.errors() if line["loc"]}
            content = {name: value for name, value in content.items() if name not in wrong}
    return None
