"""Queries of the run store, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from shared.ports import RunStore, Stored

PAGE = 100


def pages(store: RunStore, type: str, equals: dict[str, str | int] | None = None) -> Iterator[Stored]:
    """Every document of a query, newest first; each page is read when the one before it is used up."""
    cursor: str | None = None
    while True:
        page, cursor = store.query(type, equals, limit=PAGE, after=cursor)
        yield from page
        if cursor is None:
            return
