"""A host whose clock is wrong by 200 days for a while: everything that has a time goes on within its period."""

from __future__ import annotations

import random
from itertools import product

import pytest

from shared.domain.run import Status
from tests.clock import ManualClock
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.world import World

DAY_S = 24 * 3600
WRONG_S = 200 * DAY_S
MOMENTS = [Status.RECEIVED, Status.TRAINING, Status.EVALUATING, Status.APPROVED, Status.DEPLOYING]
OFTEN = {(Status.DEPLOYING, WRONG_S)}


class Days(Driver):
    """The platform has a clock of its own, which is right."""

    def __init__(self, world: World) -> None:
        super().__init__(world, random.Random(1))
        self.platform_clock = world.platform.clock = ManualClock()

    def pass_(self, seconds: float) -> None:
        self.platform_clock.advance(seconds)
        self.world.advance(seconds)

    def until(self, *statuses: Status, hours: float) -> None:
        """Message by message, so that no status is passed over."""
        for _ in range(round(hours * 120)):
            for entity in self.world.entities:
                for received in self.world.receive(entity, 1):
                    if self.world.runs() and self.world.runs()[0].status in statuses:
                        self.world.bus.abandon(received)
                        return
                    self.world.handle(received)
            for timer in ("reconcile", "probe_deployments", "retire_deployments"):
                self.world.tick(timer)
            if self.world.runs() and self.world.runs()[0].status in statuses:
                return
            self.pass_(30)
        raise AssertionError(self.describe())


@pytest.mark.parametrize(
    ("moment", "wrong_s"),
    [
        pytest.param(*case, marks=() if case in OFTEN else pytest.mark.slow)
        for case in product(MOMENTS, (WRONG_S, -WRONG_S))
    ],
)
def test_a_run_ends_and_its_schedule_goes_on_whenever_the_clock_was_wrong(
    make_world: MakeWorld, moment: Status, wrong_s: float
) -> None:
    world = make_world(1, channel=False)
    driver = Days(world)
    prepare(world, "shop")
    recipe = b"base_model: droptune/tiny-llama\nevaluation: {gate: {min_rows: 2}}\nretrain: {every_days: 1}\n"
    world.blobs.write("datasets/shop/recipe.yaml", [recipe])
    drop(world, "shop", 60)
    driver.pass_(30)
    driver.until(moment, hours=2)
    world.tick("reconcile")
    world.clock.advance(wrong_s)
    for _ in range(10):
        driver.round()
        driver.pass_(30)
    world.clock.advance(-wrong_s)
    driver.until(Status.DEPLOYED, hours=3)
    for _ in range(25):
        driver.pass_(3600)
        world.tick("retire_deployments")
        world.tick("retrain")
    assert world.waiting().get("storage-events", 0) + len(world.runs()) >= 2
    assert (world.dead_letters(), world.book.errors) == ({}, [])
