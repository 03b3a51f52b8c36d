"""What every stored document begins with."""

from collections import ChainMap
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


def salvaged_as(model: type[Model], *contents: object, **names: str) -> Model | None:
    """A `model` of `names` and of the fields of the first of `contents` in which each can be read; None if one has no
    such field."""
    layers = [dict(content) if isinstance(content, dict) else {} for content in contents]
    for _ in range(len(layers) + 1):
        try:
            return model.model_validate({**ChainMap(*layers), **names}, extra="ignore")
        except ValidationError as error:
            for name in {line["loc"][0] for line in error.errors() if line["loc"]}:
                next((layer for layer in layers if name in layer), {}).pop(name, None)
    return None
