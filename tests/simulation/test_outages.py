"""What fails for hours or for good, at one run or at all: the others go on, the work does not grow, every run ends."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import JobKind, JobSpec, JobStatus, JobView
from shared.domain.run import PASSED_OVER, Run, Status
from shared.records import claims
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import World

BUSY = Transient("azure_ml_busy", "503")


def until(driver: Driver, status: Status, count: int = 1) -> list[Run]:
    """The runs in that status once there are so many, those first that came there first."""
    for _ in range(500):
        driver.round()
        found = [run for run in driver.world.runs() if run.status is status]
        if len(found) >= count:
            return sorted(found, key=lambda run: (run.updated_at, run.id))
        driver.world.advance(5)
    raise AssertionError(driver.describe())


def trained(driver: Driver, count: int) -> list[Run]:
    """So many runs that wait for their turn, which is free."""
    world, turn = driver.world, claims.turn_claim("shop")
    for run in until(driver, Status.TRAINING, count):
        assert run.job is not None
        world.platform.jobs[run.job.name].ends_at = world.clock.now()
    claims.take(world.store, turn, "run-other", world.clock.now())
    world.advance(1)
    found = until(driver, Status.TRAINED, count)
    claims.release(world.store, turn, "run-other")
    return found


def fail_evaluations(world: World, error: Exception, run: Run | None = None) -> None:
    submit = world.platform.submit

    def refusing(spec: JobSpec) -> JobView:
        if "evaluation" in spec.name and (run is None or spec.name.startswith(run.id)):
            raise error.with_traceback(None)  # which grows each time it is raised
        return submit(spec)

    world.platform.submit = refusing  # type: ignore[method-assign]


def minutes(driver: Driver, count: int) -> int:
    """Messages handled in so many minutes, with a tick in each."""
    before = driver.world.book.handled
    for _ in range(count):
        driver.round()
        driver.world.advance(60)
    return driver.world.book.handled - before


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("status", [Status.TRAINED, Status.TRAINING, Status.DEPLOYING])
def test_an_outage_costs_as_much_in_its_last_minutes_as_in_its_first(make_world: MakeWorld, status: Status) -> None:
    """What timers state again begins no further chain of copies."""
    world = make_world(1)
    prepare(world, "shop")
    drop(world, "shop", 70)
    driver = Driver(world, random.Random(1))
    if status is Status.DEPLOYING:
        until(driver, status)
        world.platform.begin_traffic = busy  # type: ignore[method-assign]
        minutes(driver, 5)
    else:
        if status is Status.TRAINED:
            trained(driver, 1)
        fail_evaluations(world, BUSY)
        minutes(driver, 20)
    per_minute = minutes(driver, 5)
    minutes(driver, 20)
    assert (minutes(driver, 5), world.waiting()) == (per_minute, {})
    assert [run.status for run in world.runs()] == [status]


def busy(*_: Any, **__: Any) -> None:
    raise BUSY


def test_an_outage_at_which_two_stages_fail_with_one_event_does_not_double_its_copies(make_world: MakeWorld) -> None:
    """Both read the files of the drop: there is no recipe on the run yet."""
    world = make_world(1)
    prepare(world, "shop")
    drop(world, "shop", 70)
    driver = Driver(world, random.Random(1))
    world.advance(30)
    for received in world.receive("storage-events", 5):
        world.handle(received)
    read = world.blobs.read
    world.blobs.read = busy  # type: ignore[assignment,method-assign]
    minutes(driver, 5)
    stages = ("validate_dataset", "notify")
    assert minutes(driver, 10) <= 10 * len(stages) ** 2  # each copy comes to each
    world.blobs.read = read  # type: ignore[method-assign]
    minutes(driver, 3)
    [run] = world.runs()
    assert (run.status, world.notifier.delivered.total()) == (Status.TRAINING, 0)
    assert (world.waiting(), world.dead_letters()) == ({}, {})


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("status", [Status.TRAINING, Status.EVALUATING])
@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLING])
@pytest.mark.parametrize(
    "error", [PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", "403"), BUSY, KeyError("services")], ids=repr
)
def test_a_run_ends_although_its_job_cannot_be_stopped_and_the_job_is_stopped_later(
    make_world: MakeWorld, status: Status, end: Status, error: Exception
) -> None:
    world = make_world(1)
    prepare(world, "shop")
    drop(world, "shop", 70)
    driver = Driver(world, random.Random(1))
    [run] = until(driver, status)
    assert run.job is not None
    assert run.deadline_at is not None
    job = world.platform.jobs[run.job.name]
    job.ends_at += timedelta(days=9)
    begin_cancel = world.platform.begin_cancel

    def fails(_: str) -> None:
        raise error.with_traceback(None)  # which grows each time it is raised

    world.platform.begin_cancel = fails  # type: ignore[assignment,method-assign]
    if end is Status.FAILED:
        for _ in range(60):
            minutes(driver, 1)
            world.advance(3600)
    else:
        driver.cancel(run)
    minutes(driver, 2)
    ended = world.run(run.id)
    assert (ended.status, claims.read(world.store, claims.turn_claim("shop")) is None) == (
        end,
        end is Status.FAILED or status is Status.TRAINING,
    )
    assert [(one.timer, run.job.name in one.problem) for one in ended.attention] == [("reconcile", True)]
    world.platform.begin_cancel = begin_cancel  # type: ignore[method-assign]
    minutes(driver, 4)
    assert job.final is JobStatus.CANCELLED
    assert world.run(run.id).status is (Status.FAILED if end is Status.FAILED else Status.CANCELLED)
    assert (world.run(run.id).attention, world.waiting(), world.dead_letters()) == ((), {}, {})


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("error", [BUSY, KeyError("services")], ids=["outage", "bug"])
def test_a_run_whose_evaluation_cannot_begin_passes_its_turn_on(make_world: MakeWorld, error: Exception) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    for index in range(2):
        drop(world, "shop", 70, index)
    driver = Driver(world, random.Random(1))
    first, second = trained(driver, 2)
    fail_evaluations(world, error, first)
    for _ in range(60):
        minutes(driver, 1)
        if world.run(second.id).terminal:
            break
    assert world.run(second.id).terminal
    [stuck] = [run for run in world.runs() if run.id == first.id]
    if error is BUSY:
        assert (stuck.status, [one.timer for one in stuck.attention]) == (Status.TRAINED, [PASSED_OVER])
        del world.platform.submit
        driver.settle()
        stuck = world.run(first.id)
        assert [job.kind for job in stuck.jobs] == [JobKind.TRAINING, JobKind.EVALUATION]
        assert (problems(world), stuck.attention) == ([], ())
        return
    assert stuck.error is not None
    assert (stuck.error.failure_class, stuck.error.problem.code) == (FailureClass.CODE, "unforeseen_error")


@pytest.mark.few_cases(1)
@pytest.mark.parametrize(
    ("method", "of"), [("get_job", "-evaluation-"), ("read", "evaluation/report.json"), ("register_model", "")]
)
def test_a_bug_in_a_runs_turn_ends_the_run_and_the_others_go_on(make_world: MakeWorld, method: str, of: str) -> None:
    world = make_world(1)
    prepare(world, "shop", rollout="[100]")
    for index in range(2):
        drop(world, "shop", 70, index)
    driver = Driver(world, random.Random(1))
    first, second = trained(driver, 2)
    port: Any = world.blobs if method == "read" else world.platform
    works = getattr(port, method)

    def fails(subject: Any, **options: Any) -> Any:
        if first.id in str(subject) and of in str(subject):
            raise KeyError("services")
        return works(subject, **options)

    setattr(port, method, fails)
    for _ in range(90):
        minutes(driver, 1)
        if all(run.terminal for run in world.runs()):
            break
    ended = world.run(first.id)
    assert ended.error is not None
    assert (ended.error.failure_class, ended.error.problem.code) == (FailureClass.CODE, "unforeseen_error")
    assert world.run(second.id).status is Status.DEPLOYED
