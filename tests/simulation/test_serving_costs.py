"""What is counted for an endpoint is what its deployments cost on the platform, whatever becomes of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.endpoint import ServingCosts
from shared.domain.run import Status
from shared.records import serving_costs
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import drop
from tests.simulation.platform import NO_FAULTS, Platform
from tests.simulation.test_crashes import Counting, finish
from tests.simulation.test_idle_endpoints import HOUR_S, delete, idle, in_production, record_of, restore
from tests.simulation.world import World

pytestmark = pytest.mark.ci
# The timer of Azure: `retire_deployments` sees every ten minutes what is gone.
TICK = timedelta(minutes=10)


class Meter:
    """Hours of each deployment on the platform, from its creation until it is gone, as `advance` comes by it."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.spans = platform, list[list[Any]]()
        self._known: dict[int, list[Any]] = {}
        advance, begin = platform.advance, platform.begin_deployment

        def metered_advance() -> None:
            advance()
            self.note()

        def metered_begin(spec: Any) -> None:
            begin(spec)
            self.note()

        platform.advance = metered_advance  # type: ignore[method-assign]
        platform.begin_deployment = metered_begin  # type: ignore[method-assign]
        self.note()

    def note(self) -> None:
        now = self.platform.clock.now()
        there = {id(d): d for e in self.platform.endpoints.values() for d in e.deployments.values()}
        for key in there.keys() - self._known.keys():
            self._known[key] = [there[key], now, None]  # kept here, so its id stays its own
            self.spans.append(self._known[key])
        for key in self._known.keys() - there.keys():
            self._known[key][2] = self._known[key][2] or now

    def hours(self, now: datetime) -> dict[str, timedelta]:
        found: dict[str, timedelta] = {}
        for deployment, since, until in self.spans:
            name = deployment.spec.name
            found[name] = found.get(name, timedelta()) + ((until or now) - since)
        return found


def costs_of(world: World) -> ServingCosts:
    return serving_costs.read(world.store, "shop")


def hours_counted(world: World) -> dict[str, timedelta]:
    found: dict[str, timedelta] = {}
    for one in (*costs_of(world).ended, *costs_of(world).running):
        length = (one.until or world.clock.now()) - one.since
        found[one.deployment] = found.get(one.deployment, timedelta()) + length
    return found


def metered(make_world: MakeWorld) -> tuple[World, Meter]:
    world = make_world(1)
    return world, Meter(world.platform)


def compare(world: World, meter: Meter) -> None:
    """Each deployment on its own: never less than the platform has, at most a tick more each time it ended."""
    counted, real = hours_counted(world), meter.hours(world.clock.now())
    assert counted.keys() == real.keys()
    lives = {name: sum(span[0].spec.name == name for span in meter.spans) for name in real}
    wrong = {
        name: counted[name] - real[name] for name in real if not 0 <= (counted[name] - real[name]) / TICK <= lives[name]
    }
    assert wrong == {}
    usd = costs_of(world).usd_of_month(world.clock.now())
    assert usd is not None
    total = sum(counted.values(), timedelta()) / timedelta(hours=1)
    assert usd + sum(v or 0.0 for m, v in costs_of(world).ended_usd.items() if m < f"{world.clock.now():%Y-%m}") == (
        pytest.approx(2.0 * total)  # the price of this folder's machines
    )


def test_what_is_counted_is_what_the_platform_has(make_world: MakeWorld) -> None:
    world, meter = metered(make_world)
    driver = in_production(world)
    compare(world, meter)
    first = record_of(world).deployment
    drop(world, "shop", 80, 1)  # the second model; the first deployment is kept for an hour
    driver.settle()
    second = record_of(world).deployment
    assert {one.deployment for one in costs_of(world).running} == {first, second}
    assert costs_of(world).usd_per_hour() == 4.0
    compare(world, meter)
    world.advance(HOUR_S)
    driver.settle()
    assert [one.deployment for one in costs_of(world).running] == [second]
    compare(world, meter)
    idle(driver)
    driver.settle()
    assert (costs_of(world).running, costs_of(world).usd_per_hour()) == ((), 0.0)
    compare(world, meter)
    world.advance(5 * HOUR_S)
    compare(world, meter)
    restore(world)
    driver.drain()
    assert [one.deployment for one in costs_of(world).running] == [second], "before any tick"
    driver.settle()
    assert [one.deployment for one in costs_of(world).running] == [second]
    compare(world, meter)
    world.advance(2 * HOUR_S)
    delete(world)
    driver.settle()
    assert costs_of(world).running == ()
    assert [one.deployment for one in costs_of(world).ended] == [first, second, second]
    compare(world, meter)


def test_a_candidate_that_is_rolled_back_costs_what_it_ran(make_world: MakeWorld) -> None:
    world, meter = metered(make_world)
    driver = in_production(world)
    world.platform.fault_rates = type(NO_FAULTS)(deployment_fails=1.0)
    drop(world, "shop", 80, 1)
    driver.settle()
    assert world.runs()[-1].status is Status.ROLLED_BACK
    assert len(costs_of(world).ended) == 1
    compare(world, meter)


def test_a_deployment_that_is_deleted_by_hand_costs_until_it_is_seen(make_world: MakeWorld) -> None:
    world, meter = metered(make_world)
    in_production(world)
    world.platform.endpoints["shop"].deployments.clear()
    world.platform.endpoints["shop"].traffic = {}
    world.advance(TICK.total_seconds() - 1)
    world.tick("retire_deployments")
    assert costs_of(world).running == ()
    compare(world, meter)


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_the_creation_of_a_deployment_hides_no_cost(make_world: MakeWorld, after: bool) -> None:
    """At each call of a restore; what was begun and what was counted are compared when all is at rest."""
    reference = Counting()
    world, meter = metered(make_world)
    driver = in_production(world)
    idle(driver)
    restore(world)
    driver.io = reference
    driver.settle()
    begun = [n for n, name in enumerate(reference.names, 1) if name == "models.begin_deployment"]
    assert begun
    for number in (*range(begun[0] - 3, begun[0] + 3),):
        world, meter = metered(make_world)
        driver = in_production(world)
        idle(driver)
        restore(world)
        assert finish(driver, Counting(number, after))
        compare(world, meter)
