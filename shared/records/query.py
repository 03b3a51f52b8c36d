"""Queries of the run store, page by page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from shared.ports import Document, RunStore, Stored

log = logging.getLogger(__name__)

Content = TypeVar("Content")

PAGE = 100


def pages(
    store: RunStore, type: str, equals: dict[str, str | int] | None = None, cursor: str | None = None
) -> Iterator[Stored]:
    """The documents of a query behind `cursor`, newest first; each page is read when the one before it is used up."""
    while True:
        page, cursor = store.query(type, equals, limit=PAGE, after=cursor)
        yield from page
        if cursor is None:
            return


def readable(found: Iterable[Stored], read: Callable[[Document], Content]) -> Iterator[Content]:
    """What `read` makes of each document. One that it cannot read is logged and left out; `doctor` names it."""
    for stored in found:
        try:
            content = read(stored.document)
        except Exception as error:
            # The kind of error only: a message may quote the document, and documents may quote rows.
            name, kind = stored.document.get("id"), type(error).__name__
            log.error("document %a of %a cannot be read: %s", name, stored.partition, kind)
            continue
        yield content
