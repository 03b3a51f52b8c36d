"""Moments that chance seldom meets, each set up on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shared.domain.errors import Transient
from shared.domain.run import Run, Status
from shared.domain.topology import STORAGE_EVENTS
from tests.azure_events import blob_created
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems, unknown_jobs
from tests.simulation.platform import FaultRates
from tests.simulation.world import Call, Crash, World, undisturbed


class CrashAt:
    """An `io` under which the process dies at the first call of a method that the test is about."""

    def __init__(self, name: str, when: str, about: Callable[[], bool] = lambda: True) -> None:
        self.name, self.when, self.about, self.died = name, when, about, False

    def __call__(self, name: str, call: Call) -> object:
        if self.died or name != self.name or not self.about():
            return call()
        self.died = True
        if self.when == "after":
            call()
        raise Crash(name)


def the_run(world: World) -> Run:
    (run,) = world.runs()
    return run


def until(driver: Driver, condition: Callable[[], bool], rounds: int = 400) -> None:
    for _ in range(rounds):
        if condition():
            return
        driver.round()
        driver.world.advance(driver.pause_s())
    raise AssertionError(f"it did not come to pass: {driver.describe()}")


def crash(driver: Driver, io: CrashAt) -> None:
    """Continue until the process dies; the next one starts on the same files."""
    driver.io = io
    with pytest.raises(Crash):
        until(driver, lambda: False)
    driver.io = undisturbed
    driver.world.restart()


def _last_is_approved(world: World) -> bool:
    last = world.runs()[-1]
    return last.status is Status.APPROVED or last.terminal


def _provisioned(world: World) -> bool:
    return world.clock.now() >= world.platform.endpoints["shop"].ready_at


def started(world: World, percent: int = 70) -> Driver:
    prepare(world, "shop")
    drop(world, "shop", percent)
    world.advance(1)
    return Driver(world, random.Random(0))


def test_what_crashed_between_submitting_and_writing_is_stopped_when_the_run_is_cancelled(
    make_world: MakeWorld,
) -> None:
    world = make_world(1)
    driver = started(world)
    crash(driver, CrashAt("launcher.submit", "after"))
    assert the_run(world).status is Status.VALIDATED
    driver.cancel(the_run(world))
    driver.settle()
    assert the_run(world).status is Status.CANCELLED
    stopped = [world.platform.jobs[name].stops_at is not None for name in unknown_jobs(world)]
    assert stopped == [True]
    assert problems(world) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_whose_cancel_crashed_around_the_stop_of_its_job_ends_cancelled_not_failed(
    make_world: MakeWorld, when: str
) -> None:
    world = make_world(1)
    driver = started(world)
    until(driver, lambda: any(run.status is Status.TRAINING for run in world.runs()))
    driver.cancel(the_run(world))
    crash(driver, CrashAt("launcher.begin_cancel", when))
    driver.settle()  # the job is looked at before the request comes again
    assert the_run(world).status is Status.CANCELLED
    assert problems(world) == []


def test_a_deployment_that_crashed_before_it_was_written_goes_when_the_run_is_cancelled(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = started(world)
    crash(driver, CrashAt("models.begin_deployment", "after", lambda: _provisioned(world)))
    driver.cancel(the_run(world))
    driver.settle()
    assert the_run(world).status is Status.CANCELLED
    assert problems(world) == []


@pytest.mark.parametrize("champion", [False, True])
def test_a_cancel_that_wins_against_the_promotion_leaves_no_trace_of_it(make_world: MakeWorld, champion: bool) -> None:
    world = make_world(1)
    driver = started(world)
    if champion:
        driver.settle()
        drop(world, "shop", 90, 1)

    class CancelsBeforeThePromotionIsWritten:
        done = False

        def __call__(self, name: str, call: Call) -> object:
            promoted = [d for d in world.documents("endpoint") if "train-90" in _path(d) or not champion]
            if not self.done and name == "store.batch" and promoted:
                self.done = True
                driver.cancel(world.run(promoted[0]["record"]["champion"]))
                for received in world.receive("pipeline/cancel_run"):
                    world.handle(received)
            return call()

    def _path(document: dict) -> str:  # type: ignore[type-arg]
        return world.run(document["record"]["champion"]).dataset.path

    driver.io = CancelsBeforeThePromotionIsWritten()
    driver.settle()
    assert driver.io.done
    assert problems(world) == []


def test_a_death_right_after_the_last_transition_leaves_nothing_reserved(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = started(world)
    crash(driver, CrashAt("store.batch", "after", lambda: _at_the_end(world)))
    assert the_run(world).status is Status.DEPLOYED
    world.advance(61)
    driver.settle()
    assert problems(world) == []


def _at_the_end(world: World) -> bool:
    return bool(world.documents("endpoint")) and not the_run(world).terminal


@pytest.mark.ci
def test_data_claimed_by_a_run_that_never_came_to_be_can_be_dropped_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = started(world)
    crash(driver, CrashAt("store.batch", "after"))
    assert world.runs() == []
    path = drop(world, "shop", 70)  # the same bytes, a new version of the blob
    world.advance(61)
    driver.settle()
    assert [(run.dataset.path, run.status) for run in world.runs() if run.status is not Status.DUPLICATE] == [
        (path, Status.DEPLOYED)
    ]
    assert problems(world) == []


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("phase_s", [0, 13, 30, 59])
def test_a_job_whose_event_is_lost_is_found_by_a_reconcile_that_ticks_once_a_minute(
    make_world: MakeWorld, phase_s: int
) -> None:
    world = make_world(phase_s)
    world.platform.fault_rates = FaultRates(loses_event=1.0)
    driver = started(world)
    driver.drain()
    assert the_run(world).status is Status.TRAINING
    world.advance(phase_s)
    for _ in range(30):  # the longest job ends within 17 minutes
        world.advance(60)
        world.tick("reconcile")
        driver.drain()
    assert the_run(world).status is not Status.TRAINING


def test_a_previous_deployment_is_retired_once_after_its_time(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = started(world)
    driver.settle()
    drop(world, "shop", 90, 1)
    driver.settle()
    assert len(world.platform.endpoints["shop"].deployments) == 2
    world.advance(25 * 3600)
    for _ in range(3):
        driver.round()
        world.advance(30)
    assert len(world.platform.endpoints["shop"].deployments) == 1
    retired = [key for key in world.book.sent if ".deployment.retired." in key]
    assert len(retired) == 1
    assert problems(world) == []


def test_a_rollback_goes_back_to_the_previous_model_and_a_second_one_forth_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = started(world)
    driver.settle()
    drop(world, "shop", 90, 1)
    driver.settle()
    first, second = sorted(world.runs(), key=lambda run: run.created_at)
    for expected in (first, second):
        assert driver.roll_back("shop")
        driver.settle()
        assert expected.rollout is not None
        assert world.platform.endpoints["shop"].traffic == {expected.rollout.deployment: 100}
        assert problems(world) == []


@pytest.mark.ci
def test_a_rollback_and_a_rollout_of_the_same_moment_both_come_to_rest(make_world: MakeWorld) -> None:
    """The rollback's claim belongs to a run that has ended; a tick must not take it away in the middle."""
    for seed in range(6):
        world = make_world(seed)
        driver = started(world)
        driver.settle()
        drop(world, "shop", 80, 1)
        driver.settle()
        drop(world, "shop", 90, 2)
        until(driver, partial(_last_is_approved, world))
        driver.roll_back("shop")
        driver.settle()
        assert problems(world) == []
        assert all(run.error is None for run in world.runs())


def test_the_same_event_many_times_makes_one_run(make_world: MakeWorld) -> None:
    world = make_world(1)
    prepare(world, "shop")
    path = drop(world, "shop", 70)
    info = world.blobs.info(path)
    assert info is not None
    for _ in range(5):
        world.send(STORAGE_EVENTS, blob_created(path, info.etag))
    Driver(world, random.Random(0)).settle()
    assert the_run(world).status is Status.DEPLOYED
    assert problems(world) == []


def test_a_cancel_that_overtakes_a_submission_stops_its_job(make_world: MakeWorld) -> None:
    _overtaken(make_world(1), "launcher.submit", Status.VALIDATED)


def test_a_cancel_that_overtakes_a_deployment_removes_it(make_world: MakeWorld) -> None:
    _overtaken(make_world(1), "models.begin_deployment", Status.APPROVED)


def _overtaken(world: World, effect: str, status: Status) -> None:
    """The cancel is handled between the effect and the write of the step that had it."""
    driver = started(world)

    def io(name: str, call: Call) -> object:
        result = call()
        if name == effect and the_run(world).status is status:
            driver.cancel(the_run(world))
            for received in world.receive("pipeline/cancel_run"):
                world.handle(received)
        return result

    driver.io = io
    driver.settle()
    assert the_run(world).status is Status.CANCELLED
    assert problems(world) == []


@pytest.mark.parametrize("is_applied", [True, False], ids=["the shift is applied", "the shift is never applied"])
def test_a_rollout_ends_though_every_second_probe_is_unanswered(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, is_applied: bool
) -> None:
    """Each of these probes changes what the run says of the rollout, just before `reconcile` finds it overdue."""
    world = make_world(1)
    prepare(world, "shop")
    drop(world, "shop", 80)
    driver = Driver(world, random.Random(1))
    until(driver, lambda: any(run.status is Status.DEPLOYING for run in world.runs()))
    chat, silent = world.platform.chat, False

    def answer(*arguments: Any, **options: Any) -> Any:
        if silent:
            raise Transient("endpoint_unreachable", "no answer")
        return chat(*arguments, **options)

    monkeypatch.setattr(world.platform, "chat", answer)
    if not is_applied:
        monkeypatch.setattr(world.platform, "begin_traffic", lambda endpoint, traffic: None)
    for number in range(60):
        if the_run(world).terminal:
            break
        silent = number % 2 == 1
        world.tick("probe_deployments")
        world.tick("reconcile")
        driver.drain()
        world.advance(300)
    run = the_run(world)
    if is_applied:
        assert run.status is Status.DEPLOYED
    else:
        assert run.error is not None
        assert (run.status, run.error.problem.code) == (Status.FAILED, "overdue")
