"""When `reconcile` last looked, and what the timers failed at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Write
from shared.records.document import head
from shared.records.query import pages, readable

TICK, FAILED = "reconcile-tick", "failed-tick"
# A timer that fails again writes it again. What failed once a day ago is over.
FAILED_TTL_S = 24 * 3600
MAX_NAMED = 20
MAX_CHARACTERS = 300


def previous(store: RunStore) -> datetime | None:
    """When the last tick looked; None before the first, or if that cannot be read."""
    stored = store.get(TICK, TICK)
    with suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(stored.document["at"]) if stored else None
    return None


def record(store: RunStore, now: datetime) -> None:
    _put(store, TICK, TICK, {"at": now.isoformat()})


def record_failures(store: RunStore, timer: str, now: datetime, failed: Mapping[str, str]) -> None:
    """Keep what a timer failed at for a day: problems by item, the first of them if there are many."""
    # What a file system calls text need not be any: JSON holds no half of a surrogate pair.
    named = {
        id.encode(errors="replace").decode(): problem[:MAX_CHARACTERS].encode(errors="replace").decode()
        for id, problem in list(failed.items())[:MAX_NAMED]
    }
    content = {"timer": timer, "at": now.isoformat(), "count": len(failed), "failed": named}
    _put(store, timer, FAILED, content, FAILED_TTL_S)


def failures(store: RunStore) -> Iterator[tuple[str, str, int, dict[str, str]]]:
    """Timer, time, count and problems by item of each timer's last tick of the last day that failed at something."""
    return readable(pages(store, FAILED), lambda d: (d["timer"], d["at"], d["count"], dict(d["failed"])))


def _put(store: RunStore, partition: str, id: str, content: dict[str, Any], ttl_s: int | None = None) -> None:
    stored = store.get(partition, id)
    document = {**head(id), **content}
    etag = stored.etag if stored else None
    with suppress(StoreConflict):  # another host's tick was first; both looked
        store.batch(partition, [Write("replace" if stored else "create", id, document, etag, ttl_s)])
