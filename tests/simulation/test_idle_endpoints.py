"""An endpoint that nobody uses costs nothing, one that somebody uses is never stopped, and a stopped one comes back."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from shared.domain.endpoint import EndpointRecord
from shared.domain.events import EndpointOrdered
from shared.domain.run import Run, Status
from shared.records import claims, endpoints, runs
from shared.step_support.outcome import Draft
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.test_crashes import Counting, finish
from tests.simulation.world import World, undisturbed

HOUR_S = 3600
IDLE_HOURS = 4
pytestmark = pytest.mark.slow
RECIPE = "datasets/shop/recipe.yaml"
# Points at which a process dies, spread over the tests of `make test` and the others.
PARTS = 16
PART_IDS = [pytest.param(part, marks=pytest.mark.slow) for part in range(PARTS)]

KEPT = ("dataset", "attempt")


def in_production(world: World, rng: random.Random | None = None) -> Driver:
    """A model that is deployed, may scale, and may be idle for IDLE_HOURS. No previous deployment is kept."""
    prepare(world, "shop")
    text = b"".join(world.blobs.read(RECIPE)).decode()
    more = f"deployment: {{idle_hours: {IDLE_HOURS}, keep_previous_hours: 1, max_instances: 3, "
    world.blobs.write(RECIPE, [text.replace("deployment: {", more).encode()])
    drop(world, "shop", 60)
    driver = Driver(world, rng or random.Random(0))
    driver.settle()
    assert world.runs()[0].status is Status.DEPLOYED
    return driver


def record_of(world: World) -> EndpointRecord:
    record = endpoints.read(world.store, "shop")
    assert record is not None
    return record


def champion_of(world: World) -> Run:
    return world.run(record_of(world).champion)


def restore(world: World) -> None:
    request = EndpointOrdered(endpoint="shop", to="restored", by="a person")
    world.publish(champion_of(world), Draft(request, key=f"{world.clock.now().timestamp():.0f}"))


def delete(world: World) -> None:
    request = EndpointOrdered(endpoint="shop", to="deleted", by="a person", comment="not needed")
    world.publish(champion_of(world), Draft(request, key=f"{world.clock.now().timestamp():.0f}"))


def idle(driver: Driver) -> None:
    driver.world.advance(IDLE_HOURS * HOUR_S + 60)
    driver.settle()


def test_an_idle_deployment_is_deleted_and_one_call_brings_it_back(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    champion = world.runs()[0]
    idle(driver)
    stopped = record_of(world).stopped
    assert stopped is not None
    assert (stopped.reason, record_of(world).champion) == ("no request for 4:00:00", champion.id)
    assert world.platform.endpoints["shop"].deployments == {}
    assert problems(world) == []
    restore(world)
    driver.settle()
    assert record_of(world).stopped is None
    assert world.platform.ask("shop") == record_of(world).deployment
    assert world.run(champion.id).history[-1].note == "a person: shop is restored"
    world.platform.created.clear()  # the same name twice is right here
    assert problems(world) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.slow
def test_a_deployment_is_never_deleted_within_its_idle_hours_of_a_request(make_world: MakeWorld, seed: int) -> None:
    """Requests, whole candidates and pauses come in any order. A minute's requests are known once it is over."""
    world, rng = make_world(seed), random.Random(seed)
    driver = in_production(world, rng)
    last = record_of(world).promoted_at
    for index in range(1, 40):
        chance = rng.random()
        if chance < 0.5 and world.platform.endpoints["shop"].traffic:
            world.platform.ask("shop")
            last = world.clock.now()
            world.advance(60)
        elif chance < 0.6:
            drop(world, "shop", 60 + index % 3, index)
        world.advance(rng.choice((60, 600, HOUR_S, 2 * HOUR_S)))
        for _ in range(3):
            driver.round()
            world.advance(1)
        record = record_of(world)
        if record.stopped is not None:
            used_until = max(last, record.promoted_at, record.restored_at or last)
            assert record.stopped.at - used_until >= timedelta(hours=IDLE_HOURS)
            restore(world)
            driver.settle()
            assert record_of(world).stopped is None
    driver.settle()
    world.platform.created.clear()
    assert problems(world) == []


def test_an_endpoint_that_is_deleted_in_azure_is_stopped_by_the_timer_and_comes_back(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    world.platform.endpoints.clear()
    driver.settle()
    stopped = record_of(world).stopped
    assert stopped is not None
    assert stopped.reason == "its deployment is gone"
    restore(world)
    driver.settle()
    assert record_of(world).stopped is None
    assert world.platform.ask("shop") == record_of(world).deployment
    world.platform.created.clear()
    assert problems(world) == []


def test_a_deployment_whose_metrics_fail_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    world.platform.metrics_fail = True
    idle(driver)
    assert record_of(world).stopped is None
    assert world.platform.endpoints["shop"].traffic == {record_of(world).deployment: 100}


def test_a_request_while_the_traffic_is_being_taken_away_gives_it_back(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    world.advance(IDLE_HOURS * HOUR_S + 60)
    world.platform.requests["shop", record_of(world).deployment] = [world.clock.now()]  # in this very minute
    world.tick("retire_deployments")
    assert world.platform.endpoints["shop"].requested == {} or world.platform.endpoints["shop"].traffic == {}
    world.advance(60)
    driver.settle()
    assert record_of(world).stopped is None
    assert world.platform.endpoints["shop"].traffic == {record_of(world).deployment: 100}
    assert problems(world) == []


def test_an_endpoint_is_left_alone_while_a_person_is_asked_about_a_candidate(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    driver.people = False
    text = b"".join(world.blobs.read(RECIPE))
    world.blobs.write(RECIPE, [text.replace(b"approval: automatic", b"approval: required")])
    drop(world, "shop", 90, 1)
    for _ in range(200):
        driver.round()
        world.advance(30)
    assert world.runs()[-1].status is Status.AWAITING_APPROVAL
    for _ in range(4):
        world.advance(IDLE_HOURS * HOUR_S)
        driver.round()
    assert record_of(world).stopped is None
    driver.approve(world.runs()[-1], granted=False)
    driver.settle()
    idle(driver)
    assert record_of(world).stopped is not None


def test_a_restore_that_is_requested_twice_is_done_once(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    idle(driver)
    restore(world)
    world.advance(1)
    restore(world)
    driver.settle()
    assert world.platform.created == [record_of(world).deployment] * 2
    assert record_of(world).stopped is None
    world.platform.created.clear()
    assert problems(world) == []


def test_a_better_model_is_deployed_to_a_stopped_endpoint_and_a_worse_one_is_declined(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    idle(driver)
    drop(world, "shop", 50, 1)
    driver.settle()
    assert world.runs()[-1].status is Status.DECLINED
    assert record_of(world).stopped is not None
    drop(world, "shop", 80, 2)
    driver.settle()
    better = world.runs()[-1]
    assert (better.status, better.champion) == (Status.DEPLOYED, world.runs()[0].id)
    assert (record_of(world).champion, record_of(world).stopped) == (better.id, None)
    assert not driver.roll_back("shop") or record_of(world).champion == better.id
    assert problems(world) == []


def test_a_model_that_does_not_come_up_again_is_not_served_and_costs_nothing(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    idle(driver)
    rates = world.platform.fault_rates
    world.platform.fault_rates = type(rates)(deployment_fails=1.0)
    restore(world)
    driver.settle()
    assert record_of(world).stopped is not None
    assert world.runs()[0].history[-1].note.startswith("restore_failed: ")
    assert world.platform.endpoints["shop"].deployments == {}
    world.platform.fault_rates = rates
    restore(world)
    driver.settle()
    assert record_of(world).stopped is None


def test_a_deleted_endpoint_is_gone_and_the_same_data_makes_it_anew(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = in_production(world)
    champion = world.runs()[0]
    delete(world)
    driver.settle()
    assert endpoints.read(world.store, "shop") is None
    assert world.platform.endpoints == {}
    assert world.run(champion.id).history[-1].note == "a person: shop is deleted: not needed"
    assert problems(world) == []
    world.advance(60)
    drop(world, "shop", 60)  # the blob is another version
    driver.settle()
    (again,) = (run for run in world.runs() if run.id != champion.id)
    assert (again.status, again.champion) == (Status.DEPLOYED, None)
    assert record_of(world).champion == again.id


def dies(driver: Driver, io: Counting) -> bool:
    """One that died is started again; a person asks again for what is not done by then."""
    world = driver.world
    driver.io = io
    steps = [lambda: world.advance(IDLE_HOURS * HOUR_S + 60), lambda: restore(world), lambda: delete(world)]
    done = [
        lambda: record_of(world).stopped is not None,
        lambda: record_of(world).stopped is None,
        lambda: endpoints.read(world.store, "shop") is None,
    ]
    died = False
    for begin, is_done in zip(steps, done, strict=True):
        begin()
        if died:
            driver.settle()
        else:
            died = finish(driver, io)
        assert is_done(), f"{begin} is not done"
        driver.io = undisturbed if died else io
    return died


def test_a_death_at_any_call_leaves_no_deployment_that_nobody_sees(make_world: MakeWorld) -> None:
    reference = Counting()
    world = make_world("reference", channel=False)
    assert not dies(in_production(world), reference)
    done = {"models.begin_delete_deployment", "models.begin_delete_endpoint", "models.set_autoscale"}
    assert done | {"models.delete_autoscale"} <= set(reference.names)


@pytest.mark.parametrize("part", PART_IDS)
def test_a_death_at_any_call_of_stop_restore_and_deletion_changes_nothing_about_their_ends(
    make_world: MakeWorld, part: int
) -> None:
    reference = Counting()
    assert not dies(in_production(make_world("reference", channel=False)), reference)
    for number in range(1 + part, len(reference.names) + 1, PARTS):
        for after in (False, True):
            world = make_world("reference", channel=False)
            where = f"{'after' if after else 'before'} call {number}, {reference.names[number - 1]}"
            assert dies(in_production(world), Counting(number, after)), where
            world.platform.created.clear()
            assert problems(world) == [], where
            assert [claim for claim in world.documents(claims.CLAIM) if claim["kind"] not in KEPT] == [], where
            assert {run.status for run in map(runs.run_of, world.store.query(runs.RUN)[0])} == {Status.DEPLOYED}
            world.close()
