"""What one change of a run's status costs on SQLite, beside an UPDATE and an INSERT by hand."""

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, percentile, seconds
from shared.domain.dataset import DatasetRef
from shared.domain.events import DatasetUploaded, Event, EventData, ValidationPassed
from shared.domain.run import Run, Status
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.pipeline import BY_NAME, TOPOLOGY, Stage
from shared.ports import Services
from shared.runner import Handled, Runner
from shared.services import build_config
from shared.settings import Settings
from shared.step_support.outcome import Draft, Outcome, event_of
from shared.steps.receive_dataset import Reception

RUNS = 2000
BASELINE = "UPDATE and INSERT by hand"
BASELINE_NOTE = "by hand: no history, inbox or outbox, and one receiver instead of each subscription"


def run(runs: int = RUNS) -> list[Figure]:
    """Both take `runs` runs one step further, one after the other, in WAL with synchronous=NORMAL."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = droptune(Path(folder), runs), by_hand(Path(folder), runs)

    def row(name: str, unit: str, better: str, value: Callable[[list[float]], float], note: str = "") -> Figure:
        return Figure(f"transition, {name}", value(ours), unit, better, BASELINE, value(theirs), note)

    return [
        row("throughput", "1/s", "higher", lambda taken_s: len(taken_s) / sum(taken_s), BASELINE_NOTE),
        row("p50", "ms", "lower", lambda taken_s: percentile(taken_s, 50) * 1000),
        row("p99", "ms", "lower", lambda taken_s: percentile(taken_s, 99) * 1000, "target: under 50 ms"),
    ]


def droptune(folder: Path, runs: int) -> list[float]:
    """Seconds of each transition by the runner with a step that does nothing."""
    clock = SystemClock()
    store, bus = SqliteRunStore(folder / "state.db", clock), SqliteEventBus(folder / "bus.db", TOPOLOGY, clock)
    with closing(store), closing(bus):
        runner = Runner(_services(folder, store, bus))
        stage = replace(BY_NAME["validate_dataset"], step=_passes)
        events = [_received(runner, number) for number in range(runs)]
        return _timed(partial(_handle, runner, stage, event) for event in events)


def _handle(runner: Runner, stage: Stage, event: Event[EventData]) -> None:
    assert runner.handle(stage, event) is Handled.APPLIED


def _services(folder: Path, store: SqliteRunStore, bus: SqliteEventBus) -> Services:
    unused: Any = None  # the step below reaches no platform
    return Services(
        clock=SystemClock(),
        store=store,
        bus=bus,
        blobs=FileBlobStore(folder / "blobs"),
        launcher=unused,
        models=unused,
        notifier=unused,
        config=build_config(Settings()),
    )


def _received(runner: Runner, number: int) -> Event[EventData]:
    """The event of a new run that waits for its validation."""
    now = datetime.now(UTC)
    path = f"datasets/project/train-{number}.jsonl"
    new = Run(
        id=f"run-{number:06}",
        project="project",
        status=Status.RECEIVED,
        revision=0,
        attempt=1,
        created_at=now,
        updated_at=now,
        deadline_at=None,
        dataset=DatasetRef(path=path, etag="etag", sha256="0" * 64, size_bytes=1000),
        fingerprint="0" * 64,
    )
    uploaded = DatasetUploaded(path=path, sha256="0" * 64, size_bytes=1000)
    run = runner.create(Reception(new, (Draft(uploaded),)), f"event-{number}", "Microsoft.Storage.BlobCreated")
    return event_of(run, uploaded, run.updated_at)


def _passes(event: Event[EventData], run: Run, services: Services) -> Outcome:
    draft = Draft(ValidationPassed(version="v1", train_rows=1, eval_rows=1))
    return Outcome(status=Status.VALIDATED, events=(draft,))


def by_hand(folder: Path, runs: int) -> list[float]:
    """Seconds of each transition as glue code would write it."""
    with closing(sqlite3.connect(folder / "glue.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, status TEXT, updated_at TEXT)")
        connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)")
        connection.executemany(
            "INSERT INTO runs VALUES (?, 'received', '')", [(f"run-{number:06}",) for number in range(runs)]
        )
        return _timed(partial(_move, connection, f"run-{number:06}") for number in range(runs))


def _move(connection: sqlite3.Connection, run_id: str) -> None:
    now = datetime.now(UTC).isoformat()
    body = json.dumps({"type": "validation.passed", "run_id": run_id, "time": now, "train_rows": 1})
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE runs SET status = 'validated', updated_at = ? WHERE id = ?", (now, run_id))
    connection.execute("INSERT INTO messages (body) VALUES (?)", (body,))
    connection.execute("COMMIT")


def _timed(works: Iterable[Callable[[], None]]) -> list[float]:
    return [seconds(work, time.perf_counter) for work in works]
