"""What the timers and the API take of the embedded store beside how many runs ever finished."""

import hashlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measure import Figure, seconds
from shared.domain.dataset import DatasetRef
from shared.domain.run import Run, Status
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import Document, RunStore
from shared.records import claims, outbox, runs
from shared.records.document import head

FINISHED = (0, 1_000, 10_000, 100_000)
REPEATS = 15
Measured = tuple[str, str, float]  # name, unit, value
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
# A run of the tutorial has 13.6 KB and 16 more documents; fewer and smaller ones fill a disk less, and cost the same.
_RUN_BYTES, _EVENTS = 4_000, 4


def run(finished: Sequence[int] = FINISHED, repeats: int = REPEATS) -> list[Figure]:
    """Medians of `repeats` calls at each number of finished runs, beside the second: at none nothing is found."""
    rows: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.db")
        with closing(SqliteRunStore(path, SystemClock())) as store:
            before = 0
            for count in finished:
                fill(path, before, count)
                before = count
                add(rows, _measured(store, repeats), count, finished[1])
    return list(rows.values())


def add(rows: dict[str, Figure], measured: Iterable[Measured], count: int, other: int, note: str = "") -> None:
    """What was measured at a number of finished runs, beside the same at another number where that was before."""
    for name, unit, value in measured:
        beside = rows.get(f"{name}, {other} finished")
        baseline, its = (f"{other} finished", beside.value) if beside else ("", None)
        title = f"{name}, {count} finished"
        rows[title] = Figure(title, value, unit, "lower", baseline, its, note)


def _measured(store: RunStore, repeats: int) -> Iterator[Measured]:
    """What one second of an idle host asks, by CPU; what one request asks, by time."""
    yield "timers of a tick, CPU", "ms", _median(lambda: _tick(store), time.process_time, repeats)
    requests: dict[str, Callable[[], object]] = {
        "list": lambda: runs.page(store, limit=20),
        "list of a project": lambda: runs.page(store, project="p1", limit=20),
        "list of a status that none has": lambda: runs.page(store, status=Status.TRAINING, limit=20),
        "one look of a long poll": lambda: runs.load(store, id_of(0)),
    }
    for name, request in requests.items():
        yield name, "ms", _median(request, time.perf_counter, repeats)


def _tick(store: RunStore) -> None:
    outbox.runs_with_unsent(store, before=BEGAN)
    for _ in ("silent jobs", "overdue"):
        assert list(runs.unfinished(store)) == []
    for status in (Status.TRAINED, Status.DEPLOYING, Status.ROLLING_BACK):
        assert list(runs.with_status(store, status)) == []
    assert list(claims.unsettled(store)) == []


def _median(call: Callable[[], object], clock: Callable[[], float], repeats: int) -> float:
    return statistics.median(seconds(call, clock) for _ in range(repeats)) * 1000


def fill(path: Path, first: int, last: int) -> None:
    """Of finished runs, rows as the store would write them, in one transaction."""
    sql = "INSERT INTO documents (partition, id, type, created_at, etag, body) VALUES (?, ?, ?, ?, 'e', ?)"
    with closing(sqlite3.connect(path)) as connection, connection:
        for number in range(first, last):
            for partition, document in _documents(number):
                values = (document["id"], document["type"], document["created_at"], json.dumps(document))
                connection.execute(sql, (partition, *values))


def _documents(number: int) -> Iterator[tuple[str, Document]]:
    """Of a finished run: itself, its sent events and its settled claim."""
    at = BEGAN + timedelta(seconds=number)
    finished = run_of(id_of(number), f"p{number % 10}", Status.DECLINED, at)
    yield finished.id, {**runs.document_of(finished), "filler": "x" * _RUN_BYTES}
    stamp = {"created_at": at.isoformat(), "run_id": finished.id}
    for event in range(_EVENTS):
        yield finished.id, {**head(outbox.OUTBOX, f"outbox.{event}"), **stamp, "sent": 1, "filler": "x" * 500}
    name = claims.dataset_claim(finished.project, finished.dataset.sha256, "f")
    yield name, {**head(claims.CLAIM), **stamp, "name": name, "kind": "dataset", "owner": finished.id, "settled": 1}


def run_of(id: str, project: str, status: Status, at: datetime, deadline_at: datetime | None = None) -> Run:
    """A run of a dataset of its own."""
    path, sha256 = f"datasets/{project}/train.jsonl", hashlib.sha256(id.encode()).hexdigest()
    return Run(
        id=id,
        project=project,
        status=status,
        revision=1,
        attempt=1,
        created_at=at,
        updated_at=at,
        deadline_at=deadline_at,
        dataset=DatasetRef(path=path, etag="e", size_bytes=1, sha256=sha256),
        fingerprint="f",
    )


def id_of(number: int) -> str:
    return f"run-{number:012}"
