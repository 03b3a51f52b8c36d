"""Objects of the HTTP API that are no runs, such as an uploaded file: one document each, in the partition of its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from shared.domain.errors import InvalidInput, StoreConflict
from shared.ports import RunStore, Write
from shared.ports.document_rules import cursor_of
from shared.records.document import head
from shared.records.query import Content, pages, readable


def create(store: RunStore, type: str, id: str, content: dict[str, Any], created_at: datetime, **fields: str) -> None:
    """`fields` are what `every` may filter by. Raises StoreConflict if the object exists."""
    document = {**head(type), "created_at": created_at.isoformat(), "content": content, **fields}
    store.batch(id, [Write("create", type, document)])


def load(store: RunStore, type: str, id: str) -> dict[str, Any] | None:
    """The content; None if there is no such object."""
    stored = store.get(id, type)
    return dict(stored.document["content"]) if stored else None


def every(
    store: RunStore, type: str, read: Callable[[Any], Content], after: str | None = None, **fields: str
) -> Iterator[Content]:
    """What `read` makes of the contents whose fields equal the given values, newest first, those behind one of an id.

    Raises InvalidInput `unknown_cursor` if no object has that id.
    """
    cursor = None
    if after is not None:
        last = store.get(after, type)
        if last is None:
            raise InvalidInput("unknown_cursor", f"the list has no {after}", "after")
        cursor = cursor_of(last.document["created_at"], type, after)
    return readable(pages(store, type, {**fields}, cursor), lambda document: read(document["content"]))


def delete(store: RunStore, type: str, id: str) -> None:
    """Absence is fine."""
    with suppress(StoreConflict):  # another process deleted it meanwhile
        store.batch(id, [Write("delete", type)])
