"""The process dies before and after every single call that leaves it."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import pytest

from shared.domain.run import Status
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems, unknown_jobs
from tests.simulation.world import Call, Crash, World, undisturbed

# Reading changes nothing: to die before or after it is to die between two of these.
READS = ("store.get", "store.list_partition", "store.query", "blobs.info", "blobs.read", "blobs.list")
# Every point, spread over this many tests of `make test`; each is one of these many lives.
PARTS = 64
PART_IDS = [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))]
# The reference life makes fewer calls than this.
MOST_CALLS = 250


class Counting:
    """Counts the calls that matter; dies at the n-th, before or after it is done."""

    def __init__(self, crash_at: int = 0, after: bool = False) -> None:
        self.crash_at, self.after = crash_at, after
        self.names: list[str] = []

    def __call__(self, name: str, call: Call) -> object:
        if name in READS:
            return call()
        self.names.append(name)
        if len(self.names) != self.crash_at:
            return call()
        if self.after:
            with suppress(Exception):
                call()
        raise Crash(f"{'after' if self.after else 'before'} call {self.crash_at}, {name}")


def begin(world: World, approval: str) -> Driver:
    prepare(world, "shop", approval=approval, rollout="[50, 100]")
    drop(world, "shop", 70)
    world.advance(1)
    return Driver(world, random.Random(0))


def finish(driver: Driver, io: Counting, then_cancel: bool = False) -> bool:
    """Live on; True if the process died, was started again and lived on.

    `then_cancel`: a person cancels before what the dead process had in hand comes again.
    """
    driver.io = io
    try:
        driver.settle()
    except Crash:
        driver.io = undisturbed
        driver.world.restart()
        for run in driver.world.runs() if then_cancel else ():
            driver.cancel(run)
        driver.settle()
        return True
    return False


def wrong(world: World) -> list[str]:
    """What is not as in a life without a death."""
    (run,) = world.runs()
    found = [*problems(world), *(f"no run knows {job}" for job in unknown_jobs(world))]
    if run.status is not Status.DEPLOYED:
        found.append(f"the run is {run.status}")
    stages = [(job.kind, job.attempt) for job in run.jobs]
    if stages != [("validation", 1), ("training", 1), ("evaluation", 1)]:
        found.append(f"the jobs are {stages}")
    if world.platform.created != [f"d-{run.id.removeprefix('run-')}"]:
        found.append(f"the deployments are {world.platform.created}")
    return found


@pytest.fixture
def reference(make_world: MakeWorld) -> Counting:
    io = Counting()
    world = make_world("reference", inline_bytes=100, channel=False)
    assert not finish(begin(world, "automatic"), io)
    assert wrong(world) == []
    return io


def test_the_reference_life_makes_every_kind_of_call(reference: Counting) -> None:
    kinds = Counter(reference.names)
    print(f"{len(reference.names)} calls: {dict(kinds)}")
    assert kinds.keys() >= {
        "store.batch",
        "bus.send",
        "bus.complete",
        "blobs.write",
        "launcher.submit",
        "models.register_model",
        "models.begin_deployment",
        "models.begin_traffic",
    }
    assert len(reference.names) < MOST_CALLS


@pytest.mark.parametrize("part", PART_IDS)
def test_a_death_at_any_call_changes_nothing_about_the_end(
    part: int, make_world: MakeWorld, reference: Counting
) -> None:
    points, found = 0, []
    for number in range(1 + part, len(reference.names) + 1, PARTS):
        for after in (False, True):
            world = make_world("reference", inline_bytes=100, channel=False)
            assert finish(begin(world, "automatic"), Counting(number, after))
            where = f"{'after' if after else 'before'} call {number}, {reference.names[number - 1]}"
            found += [f"{where}: {problem}" for problem in wrong(world)]
            world.close()
            points += 1
    print(f"{points} crash points")
    assert points >= 2
    assert found == []


@pytest.mark.ci
@pytest.mark.parametrize("part", PART_IDS)
def test_a_death_at_any_call_and_a_cancel_leave_nothing_behind(
    part: int, make_world: MakeWorld, reference: Counting
) -> None:
    found = []
    for number in range(1 + part, len(reference.names) + 1, PARTS):
        for after in (False, True):
            world = make_world("reference", inline_bytes=100, channel=False)
            assert finish(begin(world, "automatic"), Counting(number, after), then_cancel=True)
            where = f"{'after' if after else 'before'} call {number}, {reference.names[number - 1]}"
            found += [f"{where}: {problem}" for problem in problems(world)]
            for run in world.runs():
                if run.status not in (Status.CANCELLED, Status.ROLLED_BACK, Status.DEPLOYED):
                    found.append(f"{where}: the run is {run.status}")
            world.close()
    assert found == []
