"""Candidates of one endpoint are evaluated one after another, each against the model that it would replace."""

from __future__ import annotations

import random

import pytest

from shared.domain.errors import FailureClass, InvalidInput, Problem
from shared.domain.events import JobFailed
from shared.domain.jobs import JobKind
from shared.domain.run import Run, Status
from shared.ports import Write
from shared.records import claims, endpoints, runs
from shared.records.outbox import OUTBOX
from shared.records.unreadable import unreadable
from shared.runner import Runner
from shared.step_support.outcome import Draft
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import World

CANDIDATES = 20


def drop_good(world: World, count: int) -> None:
    """Datasets whose models are each better than the one before."""
    for index in range(count):
        drop(world, "shop", 31 + 3 * index, index)
        world.advance(1)


def until(driver: Driver, status: Status) -> Run:
    """The first run that reaches the status."""
    for _ in range(500):
        driver.round()
        found = [run for run in driver.world.runs() if run.status is status]
        if found:
            return found[0]
        driver.world.advance(driver.pause_s())
    raise AssertionError(driver.describe())


def evaluations(world: World) -> list[str]:
    """The run of each evaluation job, in the order of submission."""
    jobs = [(job.submitted_at, run.id) for run in world.runs() for job in run.jobs if job.kind is JobKind.EVALUATION]
    return [run_id for _, run_id in sorted(jobs)]


@pytest.mark.ci
def test_as_many_good_runs_as_there_are_cost_one_evaluation_each_in_the_order_they_were_trained(
    make_world: MakeWorld,
) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    drop_good(world, CANDIDATES)
    Driver(world, random.Random(1)).settle()
    assert problems(world) == []
    order = evaluations(world)
    assert len(order) == CANDIDATES
    champion = None
    for run in map(world.run, order):
        assert run.champion == champion
        better = champion is None or run.dataset.path > world.run(champion).dataset.path
        assert run.status is (Status.DEPLOYED if better else Status.DECLINED)
        champion = run.id if better else champion
    waited = [run for run in world.runs() if any(line.status is Status.TRAINED for line in run.history)]
    assert len(waited) == CANDIDATES - 1
    trained_at = {run.id: next(line.at for line in run.history if line.status is Status.TRAINED) for run in waited}
    assert order[1:] == sorted(trained_at, key=lambda run_id: (trained_at[run_id], run_id))


def test_a_run_that_waits_writes_nothing(make_world: MakeWorld) -> None:
    world = make_world(1)
    prepare(world, "shop")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    waiting = until(driver, Status.TRAINED)
    kept = [entry for entry in world.documents(OUTBOX) if entry["run_id"] == waiting.id]
    for _ in range(30):
        world.tick("reconcile")
        driver.drain()
        world.clock.advance(60)
    assert world.run(waiting.id) == waiting
    assert [entry for entry in world.documents(OUTBOX) if entry["run_id"] == waiting.id] == kept


def test_a_busy_endpoint_makes_an_approved_run_write_nothing(make_world: MakeWorld) -> None:
    world = make_world(1)
    prepare(world, "shop")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    other = until(driver, Status.TRAINED).id
    assert claims.take(world.store, claims.endpoint_claim("shop"), other, world.clock.now()) == other
    approved = until(driver, Status.APPROVED)
    kept = len(world.documents(OUTBOX))
    for _ in range(5):
        world.clock.advance(60)
        driver.drain()
    assert world.run(approved.id) == approved
    assert len(world.documents(OUTBOX)) == kept


@pytest.mark.parametrize("end", ["cancelled", "awaiting_approval"])
def test_the_turn_passes_on_when_a_run_ends_or_waits_for_a_person(make_world: MakeWorld, end: str) -> None:
    world = make_world(1)
    prepare(world, "shop", approval="required")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    driver.people = False
    waiting = until(driver, Status.TRAINED)
    (first,) = (run for run in world.runs() if run.id != waiting.id)
    if end == "cancelled":
        driver.cancel(first)
    else:
        until(driver, Status.AWAITING_APPROVAL)
        assert world.run(first.id).status == end
    for _ in range(50):
        driver.round()
        world.advance(driver.pause_s())
    assert world.run(first.id).status == end
    assert world.run(waiting.id).status is Status.AWAITING_APPROVAL


def test_a_run_that_waits_can_be_cancelled(make_world: MakeWorld) -> None:
    world = make_world(1)
    prepare(world, "shop")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    waiting = until(driver, Status.TRAINED)
    driver.cancel(waiting)
    driver.settle()
    assert problems(world) == []
    assert world.run(waiting.id).status is Status.CANCELLED
    assert len(evaluations(world)) == 1


def test_a_candidate_approved_after_another_was_promoted_waits_for_its_turn_to_be_evaluated_again(
    make_world: MakeWorld,
) -> None:
    world = make_world(1)
    prepare(world, "shop", approval="required")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    driver.people = False
    for _ in range(100):
        driver.round()
        world.advance(driver.pause_s())
    first, second = sorted(world.runs(), key=lambda run: run.dataset.path)
    assert {first.status, second.status} == {Status.AWAITING_APPROVAL}
    driver.approve(first, True)
    driver.approve(second, True)
    driver.people = True
    driver.settle()
    assert problems(world) == []
    assert len(evaluations(world)) == 3
    assert world.store.get(claims.turn_claim("shop"), "claim") is None


def damage(world: World, partition: str, id: str, **content: object) -> None:
    stored = world.store.get(partition, id)
    assert stored is not None
    world.store.batch(partition, [Write("replace", id, {**stored.document, **content})])


@pytest.mark.ci
@pytest.mark.parametrize("status", [Status.EVALUATING, pytest.param(Status.APPROVED, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "content",
    [
        {"schema_version": 99},
        pytest.param({"run": {}}, marks=pytest.mark.slow),
        pytest.param({"run": None}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_that_cannot_be_read_has_its_turn_for_an_hour_at_most(
    make_world: MakeWorld, status: Status, content: dict[str, object]
) -> None:
    world = make_world(1)
    prepare(world, "shop")
    drop_good(world, 3)
    driver = Driver(world, random.Random(1))
    first = until(driver, status)
    find_run = world.platform.find_run
    world.platform.find_run = lambda run_id: first if run_id == first.id else find_run(run_id)
    damage(world, first.id, runs.RUN, **content)
    others = [run_id for run_id in (document["run_id"] for document in world.documents(runs.RUN)) if run_id != first.id]
    for _ in range(1000):
        driver.round()
        world.advance(driver.pause_s())
        if all(world.run(run_id).terminal for run_id in others):
            break
    assert {world.run(run_id).status for run_id in others} == {Status.DEPLOYED}
    assert [found.partition for found in unreadable(world.store, world.clock.now())][-1] == first.id
    if "schema_version" in content:
        with pytest.raises(InvalidInput, match="later_version"):
            Runner(world.services()).release_unreadable(first.id, runs.RUN, "ada")
        return
    Runner(world.services()).release_unreadable(first.id, runs.RUN, "ada")
    driver.settle()
    assert world.run(first.id).status is Status.FAILED
    assert world.store.get(claims.turn_claim("shop"), claims.CLAIM) is None


@pytest.mark.ci
@pytest.mark.parametrize(
    ("status", "content"),
    [
        (Status.EVALUATING, {"owner": None}),
        *(
            pytest.param(status, content, marks=pytest.mark.slow)
            for status in (Status.TRAINING, Status.EVALUATING, Status.APPROVED)
            for content in ({"owner": None}, {"created_at": "soon"}, {"schema_version": 99})
            if (status, content) != (Status.EVALUATING, {"owner": None})
        ),
    ],
    ids=str,
)
def test_runs_wait_without_a_message_for_a_turn_that_cannot_be_read_until_it_is_released(
    make_world: MakeWorld, status: Status, content: dict[str, object]
) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    until(driver, status)
    name = claims.turn_claim("shop")
    claims.take(world.store, name, world.runs()[0].id, world.clock.now())
    damage(world, name, claims.CLAIM, **content)
    wait_and_release(driver, name, claims.CLAIM)


@pytest.mark.ci
@pytest.mark.parametrize(
    "content",
    [
        {"previous": 5},
        *(pytest.param(odd, marks=pytest.mark.slow) for odd in ({"promoted_at": "soon"}, {"schema_version": 99})),
    ],
    ids=str,
)
def test_runs_wait_without_a_message_for_a_record_of_production_that_cannot_be_read_until_it_is_repaired(
    make_world: MakeWorld, content: dict[str, object]
) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    drop_good(world, 1)
    driver = Driver(world, random.Random(1))
    driver.settle()
    for percent in (60, 70):
        drop(world, "shop", percent)
        world.advance(1)
    until(driver, Status.TRAINING)
    name = claims.endpoint_claim("shop")
    stored = world.store.get(name, endpoints.RECORD)
    assert stored is not None
    if "schema_version" not in content:
        content = {"record": {**stored.document["record"], **content}}
    damage(world, name, endpoints.RECORD, **content)
    wait_and_release(driver, name, endpoints.RECORD)


def wait_and_release(driver: Driver, partition: str, id: str) -> None:
    world = driver.world
    for _ in range(400):
        driver.round()
        world.advance(driver.pause_s())
    assert (world.dead_letters(), world.waiting()) == ({}, {})
    first = min((run.updated_at, run.id) for run in world.runs() if run.status is Status.TRAINED)
    assert [run.id for run in world.runs() if run.attention] == [first[1]]
    assert [found.partition for found in unreadable(world.store, world.clock.now())] == [partition]
    stored = world.store.get(partition, id)
    if stored is not None and stored.document["schema_version"] == 99:
        with pytest.raises(InvalidInput, match="later_version"):
            Runner(world.services()).release_unreadable(partition, id, "ada")
        damage(world, partition, id, schema_version=1)  # a host of that version gave it back
    else:
        Runner(world.services()).release_unreadable(partition, id, "ada")
    driver.settle()
    assert {run.status for run in world.runs()} <= {Status.DEPLOYED, Status.DECLINED}


def test_an_attempt_after_the_turn_has_passed_on_waits_for_it_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    drop_good(world, 2)
    driver = Driver(world, random.Random(1))
    waiting = until(driver, Status.TRAINED)
    (first,) = (run for run in world.runs() if run.id != waiting.id)
    assert first.status is Status.EVALUATING
    assert first.job is not None
    turn, problem = claims.turn_claim("shop"), Problem(code="preempted", message="a spot machine was taken")
    claims.release(world.store, turn, first.id)
    claims.take(world.store, turn, waiting.id, world.clock.now())
    failed = JobFailed(job=first.job.name, failure_class=FailureClass.PLATFORM, problem=problem)
    world.publish(first, Draft(failed))
    driver.settle()
    assert problems(world) == []
    assert Status.TRAINED in [line.status for line in world.run(first.id).history]
    assert world.run(waiting.id).status is Status.DEPLOYED
    assert world.dead_letters() == {}
