"""When `reconcile` last looked, and what the timers failed at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

from shared.domain.errors import StoreConflict
from shared.ports import Document, RunStore, Stored
from shared.records.document import Content, head, pages, put, readable, time_of

TICK, FAILED, SCAN = "reconcile-tick", "failed-tick", "drop-zone-scan"
# A timer that fails again writes it again. What failed once a day ago is over.
FAILED_TTL_S = 24 * 3600
MAX_NAMED = 20
# Ticks come once a minute. A longer way from one to the next is a pause.
LONGEST_REGULAR = timedelta(minutes=10)
MAX_PAUSES = 20
MAX_CHARACTERS = 300


Time = Annotated[datetime, BeforeValidator(time_of)]
Pause = tuple[Time, Time]
"""Between these two ticks nothing was handled, or the clock jumped; backwards if the second is the earlier one."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """`last` is None before the first tick; the newest of `pauses` may end at the present one."""

    last: datetime | None = None
    pauses: tuple[Pause, ...] = ()


def read(store: RunStore, now: datetime) -> Ticks:
    """What is known of earlier ticks; nothing if that cannot be read, which is logged."""

    def ticks_of(document: Document) -> Ticks:
        last = time_of(document["at"])
        pauses = [(time_of(start), time_of(end)) for start, end in document.get("pauses", [])]
        if abs(now - last) > LONGEST_REGULAR:
            pauses.append((last, now))
        return Ticks(last, tuple(pauses[-MAX_PAUSES:]))

    return _read(store, TICK, TICK, ticks_of) or Ticks()


def record(store: RunStore, now: datetime, pauses: tuple[Pause, ...]) -> None:
    texts = [(start.isoformat(), end.isoformat()) for start, end in pauses]
    _put(store, TICK, TICK, {"at": now.isoformat(), "pauses": texts})


@dataclass(frozen=True, slots=True)
class DropZoneScan:
    """A way through the drop zone, page by page. `since`: what is older was seen by the scan before."""

    began_at: Time
    since: Time | None = None
    cursor: str | None = None
    failed: bool = False

    def after_page(self, cursor: str | None, failed: bool, now: datetime) -> "DropZoneScan":
        """The state behind a page. What failed is looked at again by the next scan, which looks as far back."""
        failed = self.failed or failed
        if cursor is not None:
            return replace(self, cursor=cursor, failed=failed)
        return DropZoneScan(began_at=now, since=self.since if failed else self.began_at)


_SCAN = TypeAdapter(DropZoneScan)


def scan(store: RunStore, now: datetime) -> DropZoneScan:
    """Where the scan is; one that begins now before the first, or if that cannot be read, which is logged."""
    return _read(store, SCAN, SCAN, _SCAN.validate_python) or DropZoneScan(now)


def record_scan(store: RunStore, scan: DropZoneScan) -> None:
    _put(store, SCAN, SCAN, _SCAN.dump_python(scan, mode="json"))


def failing(store: RunStore, timer: str) -> list[str]:
    """Ids of items that the timer's last tick failed at."""
    return _read(store, timer, FAILED, lambda document: [str(id) for id in document["failing"]]) or []


def record_failures(store: RunStore, timer: str, now: datetime, failed: Mapping[str, str], *left: str) -> None:
    """Keep what a timer failed at for a day: problems by item, the first of them if there are many.

    `left`: ids of items that are to be among those of `failing` too.
    """
    # What a file system calls text need not be any: JSON holds no half of a surrogate pair.
    named = {
        id.encode(errors="replace").decode(): problem[:MAX_CHARACTERS].encode(errors="replace").decode()
        for id, problem in list(failed.items())[:MAX_NAMED]
    }
    content = {"timer": timer, "at": now.isoformat(), "count": len(failed), "failed": named}
    stored = store.get(timer, FAILED)
    if not failed and stored:
        content = {name: stored.document.get(name, new) for name, new in content.items()}
    content["failing"] = [*named, *left]
    _put(store, timer, FAILED, content, FAILED_TTL_S)


def failures(store: RunStore) -> Iterator[tuple[str, str, int, dict[str, str]]]:
    """Timer, time, count and problems by item of each timer's last tick of the last day that failed at something."""

    def failure_of(stored: Stored) -> tuple[str, str, int, dict[str, str]]:
        timer, at, count, failed = (stored.document[name] for name in ("timer", "at", "count", "failed"))
        return timer, at, count, dict(failed)

    return readable(pages(store, FAILED), failure_of)


def _read(store: RunStore, partition: str, id: str, read: Callable[[Document], Content]) -> Content | None:
    """None too if it cannot be read: the tick writes it anew."""
    stored = store.get(partition, id)
    return next(readable([stored] if stored else [], lambda stored: read(stored.document)), None)


def _put(store: RunStore, partition: str, id: str, content: dict[str, Any], ttl_s: int | None = None) -> None:
    with suppress(StoreConflict):  # another host's tick was first; both looked
        store.batch(partition, [put(id, {**head(id), **content}, store.get(partition, id), ttl_s=ttl_s)])
