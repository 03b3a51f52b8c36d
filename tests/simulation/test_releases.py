"""Documents that were damaged and are released: production goes on, and nothing of the run is left."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.endpoint import EndpointRecord
from shared.domain.run import Run, Status
from shared.ports import Write
from shared.records import claims, endpoints, runs
from shared.records.unreadable import unreadable
from shared.runner import Runner
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.test_turns import until
from tests.simulation.world import World

UNDER_WAY = (Status.TRAINING, Status.EVALUATING, Status.DEPLOYING, Status.ROLLING_BACK)
ODD = [5]
# Each alone, then two at once, then all that a run has.
LOST = [
    *(["rollout"], ["recipe"], ["verdict"], ["dataset"], ["status"], ["project"], ["jobs"], ["jobs", "attempt"]),
    list(Run.model_fields),
]


def spoil(world: World, partition: str, id: str, **changes: Any) -> None:
    """Change fields of a document."""
    stored = world.store.get(partition, id)
    assert stored is not None
    world.store.batch(partition, [Write("replace", id, {**stored.document, **changes}, stored.etag)])


def write_raw(world: World, partition: str, id: str, content: dict[str, Any]) -> None:
    """As a hand or a disk leaves it: the store's own columns stay."""
    with world.store._database.write() as connection:
        connection.execute(
            "UPDATE documents SET body = ? WHERE partition = ? AND id = ?", (json.dumps(content), partition, id)
        )


def spoil_run(world: World, run: Run, *names: str) -> None:
    """These fields of a run cannot be read any more."""
    content = runs.document_of(world.run(run.id))["run"]
    spoil(world, run.id, runs.RUN, run={**content, **dict.fromkeys(names, ODD)})


def release(world: World, partition: str, id: str) -> str | None:
    released = Runner(world.services()).release_unreadable(partition, id, "ada")
    assert released is not None
    return released[1]


def unprobed(world: World) -> EndpointRecord | None:
    """The record, without what probes find: that cannot be known of a document that was lost."""
    record = endpoints.read(world.store, "shop")
    return record and record.model_copy(update={"health": None, "baseline": None})


def with_champion(world: World, percent: int = 60) -> Driver:
    prepare(world, "shop")
    drop(world, "shop", percent)
    driver = Driver(world, random.Random(1))
    driver.settle()
    return driver


def share_of(world: World, run: Run) -> int:
    return world.platform.endpoints["shop"].traffic.get(paths.deployment_name(run.id), 0)


def candidate_in(driver: Driver, status: Status) -> Run:
    """A better candidate in this status, which has traffic if it is being rolled out, and whose job is a long one."""
    world = driver.world
    drop(world, "shop", 90, 1)
    run = until(driver, Status.DEPLOYING if status is Status.ROLLING_BACK else status)
    if run.rollout is None:
        assert run.job is not None
        world.platform.jobs[run.job.name].ends_at += timedelta(hours=30)
        return run
    for _ in range(500):
        if 0 < share_of(world, run) < 100:
            break
        driver.round()
        world.advance(5)
    assert 0 < share_of(world, run) < 100
    if status is Status.ROLLING_BACK:
        driver.cancel(run)
        driver.drain()
    assert world.run(run.id).status is status
    return run


def combinations() -> list[Any]:
    """Each loss in one status, and the other combinations where every test runs."""
    found = []
    for index, lost in enumerate(LOST):
        for number, status in enumerate(UNDER_WAY):
            marks = () if (index + number) % len(UNDER_WAY) == 0 else pytest.mark.slow
            found.append(pytest.param(lost, status, id=f"{'+'.join(lost)}-{status}", marks=marks))
    return found


@pytest.mark.few_cases(1)
@pytest.mark.parametrize(("lost", "status"), combinations())
def test_of_a_candidate_that_is_released_nothing_is_left_and_the_next_one_goes_live(
    make_world: MakeWorld, lost: list[str], status: Status
) -> None:
    world = make_world(1)
    driver = with_champion(world)
    before = endpoints.read(world.store, "shop")
    assert before is not None
    run = candidate_in(driver, status)
    spoil_run(world, run, *lost)
    assert release(world, run.id, runs.RUN) == run.id
    driver.settle()
    assert world.run(run.id).status is Status.FAILED
    assert world.platform.endpoints["shop"].traffic == {before.deployment: 100}
    assert list(world.platform.endpoints["shop"].deployments) == [before.deployment]
    assert unprobed(world) == before.model_copy(update={"health": None, "baseline": None})
    assert [
        claim["name"]
        for claim in world.documents(claims.CLAIM)
        if claim["owner"] == run.id and claim["kind"] != "attempt"
    ] == []
    assert world.platform.live_jobs == []
    assert (world.platform.broken, world.book.errors, world.dead_letters()) == ([], [], {})
    drop(world, "shop", 95, 2)
    driver.settle()
    assert world.runs()[-1].status is Status.DEPLOYED
    assert share_of(world, world.runs()[-1]) == 100


@pytest.mark.parametrize(
    "status", [Status.DEPLOYING, *(pytest.param(s, marks=pytest.mark.slow) for s in UNDER_WAY[:2])]
)
@pytest.mark.parametrize(
    "content", [{}, pytest.param({"id": "run", "type": "run", "run": "x", "finished": 0}, marks=pytest.mark.slow)]
)
def test_of_a_run_of_which_nothing_is_left_nothing_else_is_left_either(
    make_world: MakeWorld, status: Status, content: dict[str, Any]
) -> None:
    world = make_world(1)
    driver = with_champion(world)
    before = endpoints.read(world.store, "shop")
    assert before is not None
    run = candidate_in(driver, status)
    write_raw(world, run.id, runs.RUN, content)
    assert run.id in {one.partition for one in unreadable(world.store, world.clock.now()) if one.id == runs.RUN}
    assert release(world, run.id, runs.RUN) == run.id
    driver.settle()
    assert world.run(run.id).status is Status.FAILED
    assert world.platform.endpoints["shop"].traffic == {before.deployment: 100}
    assert list(world.platform.endpoints["shop"].deployments) == [before.deployment]
    assert (world.platform.live_jobs, world.book.errors, world.dead_letters()) == ([], [], {})
    drop(world, "shop", 95, 2)
    driver.settle()
    assert endpoints.read(world.store, "shop") != before


def test_of_the_run_in_production_and_its_record_what_is_lost_is_taken_from_each_other(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = with_champion(world)
    record = endpoints.read(world.store, "shop")
    assert record is not None
    partition = claims.endpoint_claim("shop")
    write_raw(world, partition, endpoints.RECORD, {})
    assert [(one.partition, one.id) for one in unreadable(world.store, world.clock.now())] == [
        (partition, endpoints.RECORD)
    ]
    release(world, partition, endpoints.RECORD)
    repaired = unprobed(world)
    assert repaired is not None
    assert repaired.model_copy(update={"promoted_at": record.promoted_at}) == record.model_copy(
        update={"health": None, "baseline": None}
    )
    write_raw(world, record.champion, runs.RUN, {})
    release(world, record.champion, runs.RUN)
    driver.settle()
    assert world.run(record.champion).status is Status.DEPLOYED
    assert world.platform.endpoints["shop"].traffic == {record.deployment: 100}


@pytest.mark.slow
def test_the_run_before_the_one_in_production_stays_deployed_too(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = with_champion(world)
    drop(world, "shop", 90, 1)
    driver.settle()
    first, second = world.runs()
    for run in (first, second):
        write_raw(world, run.id, runs.RUN, {})
        release(world, run.id, runs.RUN)
    driver.settle()
    assert [run.status for run in (world.run(first.id), world.run(second.id))] == [Status.DEPLOYED, Status.DEPLOYED]
    assert world.platform.endpoints["shop"].traffic == {paths.deployment_name(second.id): 100}


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("damage", [{"finished": 1}, {"finished": None}, {"status": "lost"}, {"project": "other"}])
def test_a_run_of_which_a_copy_is_damaged_is_named_and_goes_on_once_it_is_released(
    make_world: MakeWorld, damage: dict[str, Any]
) -> None:
    world = make_world(1)
    driver = with_champion(world)
    run = candidate_in(driver, Status.TRAINING)
    spoil(world, run.id, runs.RUN, **damage)
    assert [one.partition for one in unreadable(world.store, world.clock.now())] == [run.id]
    release(world, run.id, runs.RUN)
    assert list(unreadable(world.store, world.clock.now())) == []
    driver.settle()
    assert world.run(run.id).status is Status.DEPLOYED


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("lost", [name for name in EndpointRecord.model_fields if name != "previous"])
@pytest.mark.parametrize("percent", [pytest.param(50, marks=pytest.mark.slow), 95])
def test_a_record_that_is_released_still_names_the_model_in_production(
    make_world: MakeWorld, lost: str, percent: int
) -> None:
    world = make_world(1)
    driver = with_champion(world, 90)
    record = endpoints.read(world.store, "shop")
    assert record is not None
    partition = claims.endpoint_claim("shop")
    spoil(world, partition, endpoints.RECORD, record={**record.model_dump(mode="json"), lost: ODD})
    release(world, partition, endpoints.RECORD)
    assert unprobed(world) == record.model_copy(update={"health": None, "baseline": None})
    drop(world, "shop", percent, 1)
    driver.settle()
    first, second = world.runs()
    assert second.status is (Status.DEPLOYED if percent > 90 else Status.DECLINED)
    assert share_of(world, second if percent > 90 else first) == 100
    assert problems(world) == []
