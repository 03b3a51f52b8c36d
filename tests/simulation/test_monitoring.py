"""A model in production goes bad while anything else happens: it is said, and its traffic goes back once."""

from __future__ import annotations

import random

import pytest

from shared.domain.endpoint import EndpointRecord, HealthState
from shared.domain.run import Status
from shared.records import endpoints
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.test_idle_endpoints import RECIPE
from tests.simulation.world import World

HEALTH = ("droptune.endpoint.degraded.v1", "droptune.endpoint.down.v1", "droptune.endpoint.recovered.v1")


def record_of(world: World) -> EndpointRecord:
    record = endpoints.read(world.store, "shop")
    assert record is not None
    return record


def facts(world: World) -> list[str]:
    """The facts about health that were sent, each with its id once however often it was sent."""
    return [id.split(".", 1)[1] for id in world.book.sent if any(one[9:-3] in id for one in HEALTH)]


def two_models(make_world: MakeWorld, seed: int, on_degraded: str = "roll_back") -> tuple[World, Driver]:
    """The second in production, the first kept warm."""
    world = make_world(seed)
    prepare(world, "shop")
    text = b"".join(world.blobs.read(RECIPE)).decode()
    world.blobs.write(RECIPE, [text.replace("deployment: {", f"deployment: {{on_degraded: {on_degraded}, ").encode()])
    driver = Driver(world, random.Random(seed))
    for index, percent in enumerate((60, 90)):
        drop(world, "shop", percent, index)
        driver.settle()
    assert [run.status for run in world.runs()] == [Status.DEPLOYED, Status.DEPLOYED]
    return world, driver


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_gets_slow_loses_its_traffic_to_the_one_before_it(make_world: MakeWorld, seed: int) -> None:
    world, driver = two_models(make_world, seed)
    bad = record_of(world)
    assert bad.previous is not None
    world.platform.latency_s[bad.deployment] = 5.0
    driver.settle()
    record = record_of(world)
    assert (record.deployment, record.health and record.health.state) == (bad.previous.deployment, HealthState.HEALTHY)
    assert record.previous is not None
    assert (record.previous.deployment, record.previous.left) == (bad.deployment, True)
    rollback = world.run(bad.champion).rollback
    assert rollback is not None
    assert (rollback.by, rollback.reason.code) == (None, "too_slow")
    assert "answers take 5.00 s, and took 0.10 s" in rollback.reason.message
    assert [one.split(".")[1] for one in facts(world)] == ["degraded", "recovered"]
    assert problems(world) == []
    world.platform.latency_s[record.deployment] = 5.0  # the one before it too: no way back to what was left
    world.platform.latency_s[bad.deployment] = 0.1
    driver.settle()
    assert record_of(world).deployment == record.deployment
    assert [one.split(".")[1] for one in facts(world)] == ["degraded", "recovered", "degraded"]
    assert problems(world) == []


def test_where_it_is_only_said_the_traffic_stays(make_world: MakeWorld) -> None:
    world, driver = two_models(make_world, 1, "notify")
    bad = record_of(world)
    world.platform.latency_s[bad.deployment] = 5.0
    driver.settle()
    assert record_of(world).deployment == bad.deployment
    assert world.run(bad.champion).rollback is None
    assert [one.split(".")[1] for one in facts(world)] == ["degraded"]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 40))])
def test_beside_rollouts_and_orders_in_any_order_all_is_well_at_rest(make_world: MakeWorld, seed: int) -> None:
    world, driver = two_models(make_world, seed)
    rng = random.Random(seed)
    for index in range(3):
        world.platform.latency_s[record_of(world).deployment] = rng.choice((0.1, 5.0))
        if rng.random() < 0.5:
            drop(world, "shop", rng.choice((80, 95)), 2 + index)
        if rng.random() < 0.3:
            driver.roll_back("shop")
        for _ in range(rng.choice((20, 80))):
            driver.step(repeats=0.1)
    world.platform.latency_s.clear()
    driver.settle()
    assert problems(world) == []
    health = record_of(world).health
    assert health is not None
    assert health.state is HealthState.HEALTHY
    assert len(facts(world)) == len(set(facts(world)))
