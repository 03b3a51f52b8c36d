"""An endpoint that a person deletes is gone, whatever dies meanwhile, and a later run makes it anew."""

from __future__ import annotations

import random

import pytest

from shared.domain.events import EndpointOrdered
from shared.domain.run import Status
from shared.records import claims, endpoints
from shared.step_support.outcome import Draft
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.test_crashes import Counting, finish
from tests.simulation.world import World

pytestmark = pytest.mark.slow


def in_production(world: World) -> Driver:
    prepare(world, "shop")
    drop(world, "shop", 60)
    driver = Driver(world, random.Random(0))
    driver.settle()
    assert [run.status for run in world.runs()] == [Status.DEPLOYED]
    return driver


def delete(world: World) -> None:
    record = endpoints.read(world.store, "shop")
    assert record is not None
    request = EndpointOrdered(endpoint="shop", to="deleted", by="a person", comment="not needed")
    world.publish(world.run(record.champion), Draft(request, key=f"{world.clock.now().timestamp():.0f}"))


def wrong(world: World) -> list[str]:
    """What is left of it."""
    found = [*problems(world), *world.platform.endpoints]
    found += [claim["name"] for claim in world.documents(claims.CLAIM) if claim["kind"] != "attempt"]
    (run,) = world.runs()
    if run.history[-1].note != "a person: shop is deleted: not needed":
        found.append(run.history[-1].note)
    return found if endpoints.read(world.store, "shop") is None else [*found, "its record"]


def test_a_deleted_endpoint_is_gone_and_the_same_data_makes_it_anew(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    (champion,) = world.runs()
    delete(world)
    driver.settle()
    assert wrong(world) == []
    world.advance(60)
    drop(world, "shop", 60)
    driver.settle()
    (again,) = (run for run in world.runs() if run.id != champion.id)
    assert (again.status, again.champion) == (Status.DEPLOYED, None)
    record = endpoints.read(world.store, "shop")
    assert record is not None
    assert record.champion == again.id


def test_a_deletion_that_is_asked_for_twice_is_done_once(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    delete(world)
    world.advance(1)
    delete(world)
    driver.settle()
    assert endpoints.read(world.store, "shop") is None
    assert problems(world) == []


def test_a_deletion_waits_for_a_rollout_and_is_void_once_another_model_is_promoted(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    (champion,) = world.runs()
    claims.take(world.store, claims.endpoint_claim("shop"), "run-other", world.clock.now())
    delete(world)
    driver.drain()
    assert "shop" in world.platform.endpoints
    claims.release(world.store, claims.endpoint_claim("shop"), "run-other")
    record = endpoints.read(world.store, "shop")
    assert record is not None
    endpoints.write(world.store, record.model_copy(update={"champion": "run-better"}), replacing=record)
    world.advance(120)
    driver.drain()
    assert world.run(champion.id).history[-1].note.startswith("rollback_void: shop has run-better in production")
    assert "shop" in world.platform.endpoints


@pytest.mark.slow
def test_a_death_at_any_call_of_a_deletion_changes_nothing_about_its_end(make_world: MakeWorld) -> None:
    reference = Counting()
    world = make_world("reference", channel=False)
    driver = in_production(world)
    delete(world)
    assert not finish(driver, reference)
    assert wrong(world) == []
    assert "models.begin_delete_endpoint" in reference.names
    for number in range(1, len(reference.names) + 1):
        for after in (False, True):
            world = make_world("reference", channel=False)
            driver = in_production(world)
            delete(world)
            assert finish(driver, Counting(number, after))
            assert wrong(world) == [], f"{'after' if after else 'before'} {number}, {reference.names[number - 1]}"
            world.close()
