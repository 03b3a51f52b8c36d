"""Any field of a run's document is damaged: the run goes on, ends or is named, and the others go on."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from shared.domain.errors import PermanentFailure
from shared.domain.run import NON_TERMINAL, Run, Status
from shared.ports import DEAD_LETTERS, Stored, Write
from shared.records import runs
from shared.records.document import pages, readable
from shared.records.unreadable import unreadable
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.world import World

MOST_DEAD_LETTERS = 6
GONE = object()
CANCELLED_IN = {Status.CANCELLING: Status.TRAINING, Status.ROLLING_BACK: Status.DEPLOYING}
Path = tuple[str | int, ...]

DAMAGES: dict[type, tuple[Any, ...]] = {
    str: (None, GONE, 5, [5], "", "../x", "x" * 5000, "2026-01-01T00:00:00Z"),
    int: (None, GONE, "x", [5], -1, 0, 10**12, 10**30, 0.5),
    float: (None, GONE, "x", [5], -1.0, 0, 1e300),
    bool: (None, GONE, "x", [5]),
    list: (None, GONE, "x", {"a": 1}, [], [5], [None]),
    dict: (None, GONE, "x", [5], {}, {"x": 5}),
    type(None): (GONE, "x", 5, [5], {"a": 1}),
}


def places(content: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field of a document, and each item of its lists."""
    if path:
        yield path, content
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from places(value, (*path, key))


def damaged(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(document)
    *folder, last = path
    place: Any = whole
    for key in folder:
        place = place[key]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return whole


def damages(document: dict[str, Any]) -> list[tuple[Path, Any]]:
    return [(path, value) for path, found in places(document) for value in DAMAGES[type(found)] if value != found]


class Vandal:
    """Damages the candidate of each project as soon as it is in the status: a field each, in a way of its own."""

    def __init__(self, world: World, status: Status, rng: random.Random, known: list[tuple[Path, Any]] | None) -> None:
        self.world, self.status, self.rng, self.known = world, status, rng, known
        self.done: dict[str, tuple[Path, Any]] = {}
        self.intact = {run.id: run for run in world.runs()}
        self._batch = world.store.batch
        world.store.batch = self.batch  # type: ignore[method-assign]
        world.platform.find_run = self.intact.__getitem__

    def batch(self, partition: str, writes: Any) -> None:
        self._batch(partition, writes)
        for write in writes:
            if write.id == runs.RUN and write.document is not None:
                self._see(partition, json.loads(json.dumps(write.document)))

    def _see(self, partition: str, document: dict[str, Any]) -> None:
        if partition in self.done:
            with suppress(PermanentFailure):
                known, seen = self.intact[partition], runs.run_of(Stored(document, "", partition))
                curated = known.curated or seen.curated
                self.intact[partition] = seen.evolve(id=known.id, dataset=known.dataset, curated=curated)
            return
        self.intact[partition] = run = runs.run_of(Stored(document, "", partition))
        if document["status"] != self.status or not is_candidate(run):
            return
        if self.known is None:
            choice = self.rng.choice(damages({"run": document["run"]}))
        else:
            choice = self.known[len(self.done) % len(self.known)]
        self.done[partition] = choice
        self._batch(partition, [Write("replace", runs.RUN, damaged(document, *choice))])


def is_candidate(run: Run) -> bool:
    return run.dataset.path.endswith("train-90-1.jsonl")


def dead_letters(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for entity, depth in world.dead_letters().items():
        found.update(dead.message.id[:16] for dead in world.bus.peek(entity + DEAD_LETTERS, limit=depth))
    return found


def stored_runs(world: World) -> dict[str, Run | None]:
    """None: it cannot be read."""
    found: dict[str, Run | None] = {}
    for stored in pages(world.store, runs.RUN):
        found[stored.partition] = next(readable([stored], runs.run_of), None)
    return found


def pass_time(driver: Driver, vandal: Vandal) -> None:
    """As fast as the platform works, then in hours, for as long as the longest deadline."""
    world, quiet, seen = driver.world, 0, -1
    for _ in range(250):
        driver.round()
        found = [run for run in stored_runs(world).values() if run is not None]
        for run in found:
            if run.status is CANCELLED_IN.get(vandal.status) and is_candidate(run):
                driver.cancel(run)
        if at_rest(world):
            return
        moved = sum(len(run.history) for run in found)
        quiet, seen = (0 if moved != seen else quiet + 1), moved
        due = world.platform.next_due()
        if quiet < 10:
            world.advance((due - world.clock.now()).total_seconds() if due and not world.waiting() else 60)
        else:
            world.advance(600 if quiet < 20 else 6 * 3600)


def live(make_world: MakeWorld, status: Status, seed: int, count: int, known: Any = None) -> list[str]:
    """What is wrong in the end; empty if all is well."""
    world = make_world(seed, channel=False, inline_bytes=100 if status is Status.VALIDATING else 20_000_000)
    driver = Driver(world, random.Random(seed))
    names = [f"shop-{index}" for index in range(count)]
    for name in (*names, "calm"):
        prepare(world, name, approval="required" if status is Status.AWAITING_APPROVAL else "automatic")
        drop(world, name, 60)
    driver.settle()
    vandal = Vandal(world, status, random.Random(seed), known)
    for name in names:
        drop(world, name, 90, 1)
    drop(world, "calm", 90, 2)
    pass_time(driver, vandal)
    found = []
    listed = {one.partition for one in unreadable(world.store, world.clock.now())}
    for id, run in stored_runs(world).items():
        if run is None and id not in listed:
            found.append(f"{id} cannot be read and is not listed")
        if run is not None and not run.terminal:
            found.append(f"{id} is still {run.status}")
    found += [f"{id} has {many} dead letters" for id, many in dead_letters(world).items() if many > MOST_DEAD_LETTERS]
    return [f"{line}: {vandal.done.get(line.split()[0])}" for line in found]


def at_rest(world: World) -> bool:
    return not world.waiting() and all(run is None or run.terminal for run in stored_runs(world).values())


# Each was the cause of 48 to 369 dead letters, or of a run that nothing ended.
WORST: dict[Status, list[tuple[Path, Any]]] = {
    Status.RECEIVED: [(("run", "dataset", "path"), "x"), (("run", "dataset", "path"), "datasets/../x")],
    Status.TRAINING: [(("run", "curated"), None), (("run", "deadline_at"), None)],
    Status.EVALUATING: [(("run", "recipe"), None)],
    Status.DEPLOYING: [(("run", "rollout", "step"), 9), (("run", "rollout", "previous"), {"d-x": 5})],
}


@pytest.mark.parametrize(
    "status", [Status.RECEIVED, *(pytest.param(s, marks=pytest.mark.slow) for s in list(WORST)[1:])]
)
def test_the_worst_damages_end_or_are_named(make_world: MakeWorld, status: Status) -> None:
    assert live(make_world, status, 1, len(WORST[status]), WORST[status]) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("status", sorted(NON_TERMINAL))
def test_a_run_with_a_damaged_field_ends_or_is_named(make_world: MakeWorld, status: Status, seed: int) -> None:
    assert live(make_world, Status(status), seed, 12) == []
