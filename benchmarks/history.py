"""What the timers and the API take of the embedded store beside how many runs ever finished."""

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measure import Figure
from shared.domain.dataset import DatasetRef
from shared.domain.run import Run, Status
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import Document, RunStore
from shared.records import claims, outbox, runs
from shared.records.document import head

FINISHED = (0, 1_000, 10_000, 100_000)
REPEATS = 15
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
                for name, unit, value in _measured(store, repeats):
                    beside = rows.get(f"{name}, {finished[1]} finished")
                    baseline, its = (f"{finished[1]} finished", beside.value) if beside else ("", None)
                    title = f"{name}, {count} finished"
                    rows[title] = Figure(title, value, unit, "lower", baseline, its)
    return list(rows.values())


def _measured(store: RunStore, repeats: int) -> Iterator[tuple[str, str, float]]:
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
    taken = []
    for _ in range(repeats):
        began = clock()
        call()
        taken.append(clock() - began)
    return statistics.median(taken) * 1000


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
    dataset = DatasetRef(path=f"datasets/p{number % 10}/train.jsonl", etag="e", size_bytes=1, sha256=f"{number:064}")
    finished = Run(
        id=id_of(number),
        project=f"p{number % 10}",
        status=Status.DECLINED,
        revision=1,
        attempt=1,
        created_at=at,
        updated_at=at,
        deadline_at=None,
        dataset=dataset,
        fingerprint="f",
    )
    yield finished.id, {**runs.document_of(finished), "filler": "x" * _RUN_BYTES}
    stamp = {"created_at": at.isoformat(), "run_id": finished.id}
    for event in range(_EVENTS):
        yield finished.id, {**head(outbox.OUTBOX, f"outbox.{event}"), **stamp, "sent": 1, "filler": "x" * 500}
    name = claims.dataset_claim(finished.project, dataset.sha256, "f")
    yield name, {**head(claims.CLAIM), **stamp, "name": name, "kind": "dataset", "owner": finished.id, "settled": 1}


def id_of(number: int) -> str:
    return f"run-{number:012}"
