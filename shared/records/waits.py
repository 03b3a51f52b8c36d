"""Runs that were asked for and wait: before one is received, nothing else tells of it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Stored
from shared.records.document import head, put, read_one, time_of

WAIT = "wait"
TTL_S = 2 * 3600  # beyond the longest time between two looks


@dataclass(frozen=True, slots=True)
class Wait:
    project: str
    reason: str
    again_at: datetime


def note(store: RunStore, run_id: str, wait: Wait) -> None:
    """Put it in the place of what was noted before."""
    content = {"project": wait.project, "reason": wait.reason, "again_at": wait.again_at.isoformat()}
    with suppress(StoreConflict):  # another handler has just done so
        stored = store.get(_partition(run_id), WAIT)
        store.batch(_partition(run_id), [put(WAIT, {**head(WAIT), **content}, stored, ttl_s=TTL_S)])


def read(store: RunStore, run_id: str) -> Wait | None:
    return read_one(store, _partition(run_id), WAIT, _wait_of)


def _wait_of(stored: Stored) -> Wait:
    project, reason = (str(stored.document[name]) for name in ("project", "reason"))
    return Wait(project, reason, time_of(stored.document["again_at"]))


def _partition(run_id: str) -> str:
    return f"wait:{run_id}"
