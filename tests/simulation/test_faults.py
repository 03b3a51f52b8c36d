"""Everything outside fails now and then, and people change their minds."""

from __future__ import annotations

import random

import pytest

from shared.domain.run import Status
from shared.domain.topology import STORAGE_EVENTS
from tests.azure_events import blob_created
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, UnreliableIo, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.platform import FREQUENT_FAULTS, NO_FAULTS
from tests.simulation.world import World, undisturbed

SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 310))]
STEPS = 400


def live(world: World, rng: random.Random, *, unanswered: float) -> Driver:
    """Two projects; datasets, cancels, rollbacks and repeats at any moment, then peace."""
    for project in ("shop", "plant"):
        prepare(world, project, approval=rng.choice(("automatic", "required")))
    world.platform.fault_rates = FREQUENT_FAULTS
    driver = Driver(world, rng, UnreliableIo(rng, unanswered) if unanswered else undisturbed)
    dropped = 0
    for _ in range(STEPS):
        if dropped < 5 and rng.random() < 0.02:
            dropped += 1
            project, percent = rng.choice(("shop", "shop", "plant")), rng.choice((10, 50, 60, 70, 80, 90))
            drop(world, project, percent, dropped, received=rng.random() < 0.8)
        if rng.random() < 0.03:
            disturb(world, driver, rng)
        driver.step(repeats=0.15)
    driver.io = undisturbed
    world.platform.fault_rates = NO_FAULTS
    driver.settle()
    return driver


def disturb(world: World, driver: Driver, rng: random.Random) -> None:
    runs = world.runs()
    match rng.choice(("cancel", "roll back", "again", "wait")):
        case "cancel" if rng.random() < 0.3 and (under_way := [run for run in runs if not run.terminal]):
            driver.cancel(rng.choice(under_way))
        case "roll back":
            driver.roll_back(rng.choice(("shop", "plant")))
        case "again" if runs:
            run = rng.choice(runs)
            info = world.blobs.info(run.dataset.path)
            assert info is not None
            world.send(STORAGE_EVENTS, blob_created(run.dataset.path, info.etag))
        case "wait" if rng.random() < 0.2:
            world.advance(rng.choice((90, 3600, 26 * 3600)))


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_every_run_comes_to_an_end_that_holds(
    seed: int, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed, inline_bytes=rng.choice((20_000_000, 100)))
    live(world, rng, unanswered=rng.choice((0.0, 0.01, 0.04)))
    assert problems(world) == []


@pytest.mark.slow
def test_the_seeds_reach_every_end(make_world: MakeWorld) -> None:
    ends = set()
    for seed in range(40):
        world = make_world(seed)
        live(world, random.Random(seed), unanswered=0.02)
        ends |= {run.status for run in world.runs()}
    assert ends >= {Status.DEPLOYED, Status.DECLINED, Status.FAILED, Status.CANCELLED, Status.ROLLED_BACK}
