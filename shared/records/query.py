"""Queries of the run store, page by page."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from shared.domain.errors import LaterVersion, UnreadableDocument, WaitsForRelease
from shared.ports import RunStore, Stored

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
    store: RunStore,
    type: str,
    equals: dict[str, str | int] | None = None,
    cursor: str | None = None,
    size: int = PAGE,
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
