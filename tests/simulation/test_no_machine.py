"""Azure accepts a deployment and then has no machine for it: the run waits, as where Azure refuses at once."""

from __future__ import annotations

import random

import pytest

from shared.domain.run import Run, Status
from shared.records import claims
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.test_crashes import Counting, finish
from tests.simulation.world import World

pytestmark = pytest.mark.slow
PARTS = 16
PART_IDS = [pytest.param(part, marks=pytest.mark.slow) for part in range(PARTS)]


def begin(world: World, no_machine: int) -> Driver:
    world.platform.no_machine = no_machine
    prepare(world, "shop", rollout="[100]")
    drop(world, "shop", 70)
    return Driver(world, random.Random(0))


def ways(run: Run) -> list[Status]:
    """The statuses since its approval, each once as it changes."""
    found = [line.status for line in run.history]
    found = found[found.index(Status.APPROVED) :]
    return [status for number, status in enumerate(found) if number == 0 or found[number - 1] is not status]


def test_a_model_is_deployed_once_there_is_quota_and_its_endpoint_is_free_until_then(make_world: MakeWorld) -> None:
    world = make_world("reference", channel=False)
    driver, owners = begin(world, 2), list[str | None]()
    advance = world.advance

    def watched(seconds: float) -> None:
        for run in world.runs():
            if run.status is Status.APPROVED and Status.DEPLOYING in [line.status for line in run.history]:
                held = claims.read(world.store, claims.endpoint_claim("shop"))
                owners.append(held.owner if held else None)
        advance(seconds)

    world.advance = watched  # type: ignore[method-assign]
    driver.settle()
    (run,) = world.runs()
    assert ways(run) == [Status.APPROVED, Status.DEPLOYING] * 3 + [Status.DEPLOYED]
    assert set(owners) == {None}
    waits = [line.note for line in run.history if line.note.startswith("quota: azure_ml_quota, again in ")]
    assert len(waits) == 2
    assert sum(".quota.missing." in event for event in world.book.stated) == 1
    assert len(world.platform.created) == 3
    world.platform.created.clear()  # the same name again is what is wanted here
    assert problems(world) == []


def test_a_model_for_which_there_is_no_quota_in_seven_days_fails_and_leaves_nothing(make_world: MakeWorld) -> None:
    world = make_world("reference", channel=False)
    driver = begin(world, 1000)
    driver.settle()
    (run,) = world.runs()
    assert (run.status, run.error and run.error.problem.code) == (Status.FAILED, "azure_ml_quota")
    approved = next(line.at for line in run.history if line.status is Status.APPROVED)
    assert 7 <= (run.history[-1].at - approved).days < 8
    assert world.platform.endpoints["shop"].deployments == {}
    world.platform.created.clear()
    assert problems(world) == []


@pytest.mark.parametrize(("missing", "end"), [(5, Status.DEPLOYED), (6, Status.FAILED)])
def test_a_region_without_capacity_is_tried_six_times_in_an_hour(
    make_world: MakeWorld, missing: int, end: Status
) -> None:
    world = make_world("reference", channel=False)
    world.platform.no_machine_code = "azure_ml_capacity"
    driver = begin(world, missing)
    driver.settle()
    (run,) = world.runs()
    assert (run.status, run.error and run.error.problem.code) == (end, "azure_ml_capacity" if run.error else None)
    waits = [line.note for line in run.history if line.note.startswith("capacity: azure_ml_capacity, again in ")]
    assert [note.split(" in ")[1].split(" s:")[0] for note in waits] == ["120", "240", "480", "960", "1920"]
    assert len(world.platform.created) == 6
    world.platform.created.clear()
    assert problems(world) == []


@pytest.mark.parametrize("part", PART_IDS)
def test_a_death_at_any_call_changes_nothing_about_the_end(make_world: MakeWorld, part: int) -> None:
    reference = Counting()
    assert not finish(begin(make_world("reference", channel=False), 1), reference)
    for number in range(1 + part, len(reference.names) + 1, PARTS):
        for after in (False, True):
            world = make_world("reference", channel=False)
            where = f"{'after' if after else 'before'} call {number}, {reference.names[number - 1]}"
            assert finish(begin(world, 1), Counting(number, after)), where
            (run,) = world.runs()
            assert run.status is Status.DEPLOYED, where
            assert len(world.platform.created) == 2, where
            world.platform.created.clear()
            assert problems(world) == [], where
            world.close()
