"""Nothing fails; only the order of things is by chance."""

from __future__ import annotations

import random

import pytest

from shared.domain.run import Status
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems, unknown_jobs
from tests.simulation.world import World

SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 200))]
BAD_ROWS = 3


def live(world: World, rng: random.Random) -> None:
    """One to three datasets for one endpoint, some bad, some weak, some good."""
    prepare(
        world, "shop", approval=rng.choice(("automatic", "required")), rollout=rng.choice(("[10, 50, 100]", "[100]"))
    )
    driver = Driver(world, rng)
    for index in range(rng.choice((1, 1, 2, 3))):
        percent = rng.choice((10, 50, 70, 90))
        drop(world, "shop", percent, index, count=BAD_ROWS if rng.random() < 0.1 else 12)
        for _ in range(rng.choice((0, 50))):
            driver.step()
    driver.settle()


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_ends_as_its_data_says(seed: int, make_world: MakeWorld, rng: random.Random) -> None:
    world = make_world(seed, inline_bytes=rng.choice((20_000_000, 100)))
    live(world, rng)
    assert problems(world) == []
    assert unknown_jobs(world) == []
    for run in world.runs():
        assert run.error is None
        percent = int(run.dataset.path.split("-")[1])
        if run.dataset.size_bytes < 1000:
            assert run.status is Status.REJECTED
        elif percent < 30:
            assert run.status is Status.DECLINED
        elif run.status is Status.DECLINED:
            denied = run.decision is not None and not run.decision.granted
            baseline = run.champion and int(world.run(run.champion).dataset.path.split("-")[1])
            assert denied or (baseline or 0) >= percent
        else:
            assert run.status is Status.DEPLOYED
    assert set(world.notifier.delivered.values()) <= {1}


@pytest.mark.parametrize("seed", [3])
def test_the_same_seed_lives_the_same_life(seed: int, make_world: MakeWorld) -> None:
    lives = []
    for _ in range(2):
        world = make_world(seed)
        live(world, random.Random(seed))
        lives.append([run.model_dump_json() for run in world.runs()])
    assert lives[0] == lives[1]
