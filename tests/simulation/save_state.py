"""Save a state for later versions to read: `python -m tests.simulation.save_state tests/golden/state/schema-N`.

Run before the form of a document changes. See docs/decisions/0027-documents-have-versions.md.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import shared.embedded.blobs
from shared.domain.catalog import Sku
from shared.domain.run import Run, Status
from shared.domain.topology import STORAGE_EVENTS
from tests.azure_events import blob_created
from tests.simulation.driver import Driver, drop, rows
from tests.simulation.world import World

RECIPE = """
base_model: droptune/tiny-llama
evaluation:
  gate: {{min_rows: 2}}
  graders: [{{name: exact, type: string_check}}, {{name: part, type: regex, pattern: 'bolt [0-9]+'}}]
deployment: {{approval: {approval}, rollout: [50, 100]}}
"""
STOPS = {
    "trains": Status.TRAINING,
    "is-examined": Status.EVALUATING,
    "rolls-out": Status.DEPLOYING,
    "waits": Status.AWAITING_APPROVAL,
}


def save(folder: Path, target: Path) -> None:
    """Runs of each end, runs that stand in a status each, and one whose first event is on its way."""
    writes = itertools.count()
    world = World(folder, "3", channel=False)
    moment = lambda: int(world.clock.now().timestamp()) * 10**9 + next(writes) * 1000  # noqa: E731
    shared.embedded.blobs.time = SimpleNamespace(time_ns=moment, time=lambda: 0.0)  # type: ignore[assignment, attr-defined]
    shared.embedded.blobs._etag = lambda status: f"{status.st_mtime_ns:x}-{status.st_size:x}"
    Sku.price = lambda self, *, spot: 2.0  # type: ignore[method-assign]
    driver = Driver(world, random.Random(3))
    driver.people = False
    _end(world, driver)
    _stop(world, driver)
    _prepare(world, "arrives")
    path = drop(world, "arrives", 70)
    while _run(world, path) is None:
        for received in world.receive(STORAGE_EVENTS):
            world.handle(received)
        world.clock.advance(61)
    assert world.book.errors == []
    kept = {part for run in world.runs() if not run.terminal for part in (run.id, run.project)}
    world.close()
    target.mkdir(parents=True, exist_ok=True)
    for name in ("state", "bus"):
        (target / f"{name}.sql").write_text(_dump(folder / f"{name}.db"))
    blobs = {
        file.relative_to(folder / "blobs").as_posix(): {
            "modified_ns": file.stat().st_mtime_ns,
            "text": file.read_text(),
        }
        for file in sorted((folder / "blobs").rglob("*"))
        if file.is_file() and kept & set(file.parts)
    }
    saved = {"now": world.clock.now().isoformat(), "blobs": blobs}
    (target / "blobs.json").write_text(json.dumps(saved, indent=0, sort_keys=True) + "\n")


def _end(world: World, driver: Driver) -> None:
    _prepare(world, "done")
    first = drop(world, "done", 70)
    driver.settle()
    drop(world, "done", 10, 1)
    drop(world, "done", 50, 2, count=1)
    same = world.blobs.write("datasets/done/train-70-9.jsonl", world.blobs.read(first))
    world.send(STORAGE_EVENTS, blob_created(same.path, same.etag))
    driver.settle()
    drop(world, "done", 90, 3)
    world.platform._outcome = lambda rng: "says data"  # type: ignore[method-assign]
    driver.settle()
    del world.platform._outcome
    _prepare(world, "called-off")
    path = drop(world, "called-off", 80)
    while (run := _run(world, path)) is None or run.status is not Status.TRAINING:
        driver.round()
        world.advance(1)
    driver.cancel(run)
    driver.settle()


def _stop(world: World, driver: Driver) -> None:
    """Let a run into each status, and nothing that would lead it on."""
    for project in STOPS:
        _prepare(world, project, "required" if project == "waits" else "automatic")
    paths = {drop(world, project, 70): status for project, status in STOPS.items()}
    later = world.clock.now() + timedelta(days=1)
    while any((run := _run(world, path)) is None or run.status is not status for path, status in paths.items()):
        driver.round()
        for run in world.runs():
            if run.status is paths.get(run.dataset.path) and run.status in (Status.TRAINING, Status.EVALUATING):
                world.platform.jobs[run.jobs[-1].name].ends_at = later
            elif run.status is Status.DEPLOYING:
                for deployment in world.platform.endpoints[run.project].deployments.values():
                    deployment.ready_at = later
        world.advance(1)


def _prepare(world: World, project: str, approval: str = "automatic") -> None:
    world.blobs.write(f"datasets/{project}/recipe.yaml", [RECIPE.format(approval=approval).encode()])
    world.blobs.write(f"datasets/{project}/eval.jsonl", [rows(f"{project} held out", 6)])


def _run(world: World, path: str) -> Run | None:
    return next((run for run in world.runs() if run.dataset.path == path), None)


def _dump(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        lines = [line for line in connection.iterdump() if "sqlite_sequence" not in line]
    return "\n".join([*lines, f"PRAGMA user_version = {version};"]) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch), Path(sys.argv[1]))
