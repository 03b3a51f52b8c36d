"""A platform whose machines come an hour late, and events that come twice, in any order, and days late."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shared.domain.run import Status
from shared.domain.topology import JOB_EVENTS, STORAGE_EVENTS, TOPIC
from shared.ports import Message, ReceivedMessage
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems, unknown_jobs
from tests.simulation.world import Io, World, undisturbed

HOUR_S = 3600
SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 100))]


class TwiceWorld(World):
    """Every message is handled, and then delivered once more; `delivered` has all that ever were."""

    delivered: list[tuple[str, Message]]

    def handle(self, received: ReceivedMessage, io: Io = undisturbed, *, settle: bool = True) -> None:
        if received.delivery_count == 1:
            self.delivered.append((received.entity.split("/")[0], received.message))
        super().handle(received, io, settle=settle and received.delivery_count > 1)


def test_machines_that_come_after_an_hour_are_waited_for(make_world: MakeWorld, rng: random.Random) -> None:
    world = make_world(0)
    world.platform.machines_after_s = HOUR_S
    prepare(world, "shop")
    drop(world, "shop", 90)
    began = world.clock.now()
    Driver(world, rng).settle()
    [run] = world.runs()
    assert (run.status, run.error) == (Status.DEPLOYED, None)
    # Two jobs, the endpoint and the deployment, one after the other.
    assert (world.clock.now() - began).total_seconds() > 4 * HOUR_S
    assert len(world.platform.jobs) == 2
    assert len(world.platform.created) == 1
    assert problems(world) == []


@pytest.mark.few_cases(2)
@pytest.mark.parametrize("seed", SEEDS)
def test_events_that_come_twice_in_any_order_and_once_more_at_the_end_deploy_once(
    seed: int, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed, TwiceWorld)
    assert isinstance(world, TwiceWorld)
    world.delivered = []
    prepare(world, "shop")
    drop(world, "shop", 90)
    driver = Driver(world, rng)
    for _ in range(200):
        driver.step()
    driver.settle()
    history = [line.status for line in world.runs()[0].history]
    again = [*{(destination, message.id): (destination, message) for destination, message in world.delivered}.values()]
    assert Counter(destination for destination, _ in again).keys() >= {STORAGE_EVENTS, JOB_EVENTS, TOPIC}
    world.advance(3 * 24 * HOUR_S)
    rng.shuffle(again)
    for destination, message in again:
        world.send(destination, message)
    driver.settle()
    [run] = world.runs()
    assert (run.status, [line.status for line in run.history]) == (Status.DEPLOYED, history)
    assert Counter(job.stage for job in world.platform.jobs.values()) == {"training": 1, "evaluation": 1}
    assert len(world.platform.created) == 1
    assert problems(world) == []
    assert unknown_jobs(world) == []
