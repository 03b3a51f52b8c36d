"""Stored documents: what each begins with, queries page by page, and what cannot be read of them."""

import logging
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shared.domain.errors import LaterVersion, UnreadableDocument, WaitsForRelease
from shared.domain.upgrades import SCHEMA_VERSION, with_unknown
from shared.ports import Document, RunStore, Stored, Write

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


log = logging.getLogger(__name__)

Content = TypeVar("Content")

PAGE = 100


def read_one(store: RunStore, partition: str, id: str, read: Callable[[Stored], Content]) -> Content | None:
    """What `read` makes of the document; None if there is none. Raises WaitsForRelease, and LaterVersion."""
    stored = store.get(partition, id)
    try:
        return read(stored) if stored else None
    except LaterVersion:
        raise
    except Exception as error:
        raise WaitsForRelease(partition, id) from error


def pages(
    store: RunStore, type: str, equals: dict[str, str | int] | None = None, cursor: str | None = None, size: int = PAGE
) -> Iterator[Stored]:
    """The documents of a query behind `cursor`, newest first; each page is read when the one before it is used up."""
    while True:
        page, cursor = store.query(type, equals, limit=size, after=cursor)
        yield from page
        if cursor is None:
            return


def unreadable_as(stored: Stored, error: Exception, kind: str = "") -> UnreadableDocument:
    """Of the error its kind only: a message may quote the document, and documents may quote rows."""
    type_ = kind or str(stored.document.get("type"))
    id = str(stored.document.get("id", type_))
    fault = f"{type(error.__cause__ or error).__name__}: it does not fit this version"
    problem = error.problem.message if isinstance(error, LaterVersion) else fault
    return UnreadableDocument(type=type_, partition=stored.partition, id=id, problem=problem)


def readable(
    found: Iterable[Stored], read: Callable[[Stored], Content], unreadable: list[UnreadableDocument] | None = None
) -> Iterator[Content]:
    """What `read` makes of each document. One that it cannot read is logged, added to `unreadable` and left out."""
    for stored in found:
        try:
            content = read(stored)
        except Exception as error:
            left_out = unreadable_as(stored, error)
            level = logging.DEBUG if isinstance(error, LaterVersion) else logging.ERROR
            log.log(level, "document %a of %a cannot be read: %s", left_out.id, left_out.partition, left_out.problem)
            if unreadable is not None:
                unreadable.append(left_out)
            continue
        yield content
