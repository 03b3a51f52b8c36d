"""A service refuses one thing for good: what a person sees of it, and that nothing is left over."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.run import Run, Status
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import World

REFUSED = PermanentFailure(FailureClass.PLATFORM, "blob_refused", "403 This operation is not permitted")


def prepared(world: World, percent: int = 80) -> Driver:
    prepare(world, "shop")
    drop(world, "shop", percent)
    world.advance(30)
    return Driver(world, random.Random(0))


def refuse(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: Exception = REFUSED,
    *,
    at: str = "",
    times: int = 99,
) -> list[str]:
    """Reading a blob that is called so raises, in the function `at` or any. The list grows by each path."""
    refused: list[str] = []
    functions = [""]
    read, call = world.blobs.read, world.call

    def noted_call(function: str, argument: Any, io: Any) -> None:
        functions.append(function)
        try:
            call(function, argument, io)
        finally:
            functions.pop()

    def refusing_read(path: str, **options: Any) -> Any:
        if path.endswith(name) and at in ("", functions[-1]) and len(refused) < times:
            refused.append(path)
            raise error
        return read(path, **options)

    monkeypatch.setattr(world, "call", noted_call)
    monkeypatch.setattr(world.blobs, "read", refusing_read)
    return refused


def rounds(driver: Driver, count: int, wait_s: float = 30) -> None:
    for _ in range(count):
        driver.round()
        driver.world.advance(wait_s)


def the_run(world: World) -> Run:
    (run,) = world.runs()
    return run


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("name", ["train-80-0.jsonl", "recipe.yaml", "eval.jsonl"])
def test_a_file_of_a_drop_that_is_refused_fails_its_run_once_with_a_remedy(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    world = make_world(1)
    driver = prepared(world)
    refuse(world, monkeypatch, name, at="receive_dataset")
    rounds(driver, 30)
    error = the_run(world).error
    assert error is not None
    assert (the_run(world).status, error.problem.code) == (Status.FAILED, "blob_refused")
    assert "archive tier" in error.problem.message
    assert (world.dead_letters(), world.waiting(), problems(world)) == ({}, {}, [])


@pytest.mark.ci
def test_a_blob_that_is_being_brought_back_has_one_message_that_waits_for_it(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    driver = prepared(world)
    waiting = refuse(world, monkeypatch, "train-80-0.jsonl", Transient("blob_busy", "BlobBeingRehydrated"), times=30)
    rounds(driver, 60, 10)
    assert world.waiting() == {"storage-events": 1}
    rounds(driver, 60)
    assert len(waiting) == 30
    assert the_run(world).status is not Status.FAILED
    assert world.dead_letters() == {}


def test_a_dataset_replaced_while_it_is_read_is_trained_with_its_new_rows(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    driver = prepared(world)
    read = world.blobs.read
    replaced: list[str] = []

    def replacing_read(path: str, **options: Any) -> Any:
        if path.endswith("train-80-0.jsonl") and not replaced:
            replaced.append(drop(world, "shop", 80, count=14))
        return read(path, **options)

    monkeypatch.setattr(world.blobs, "read", replacing_read)
    rounds(driver, 10)
    assert replaced
    assert (the_run(world).error, the_run(world).duplicate_of) == (None, None)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("function", "name", "inline"),
    [("apply_gate", "evaluation/report.json", 20_000_000), ("conclude_validation", "validation/outcome.json", 10)],
)
def test_one_refusal_to_read_what_a_job_wrote_repeats_the_job(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, function: str, name: str, inline: int
) -> None:
    world = make_world(1, inline_bytes=inline)
    driver = prepared(world)
    refused = refuse(world, monkeypatch, name, at=function, times=1)
    driver.settle()
    assert len(refused) == 1
    assert the_run(world).status is Status.DEPLOYED


def deployed(world: World, percents: tuple[int, ...]) -> Driver:
    prepare(world, "shop")
    driver = Driver(world, random.Random(0))
    for number, percent in enumerate(percents):
        drop(world, "shop", percent, number)
        driver.settle()
    return driver


def until(driver: Driver, condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        driver.round()
        driver.world.advance(driver.pause_s())
    raise AssertionError(driver.describe())


@pytest.mark.ci
def test_a_rollback_ordered_during_a_rollout_that_succeeds_is_said_to_be_void(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = deployed(world, (60, 80))
    drop(world, "shop", 90, 3)
    until(driver, lambda: world.runs()[-1].status is Status.DEPLOYING)
    left, promoted = world.runs()[1:]
    driver.roll_back("shop")
    driver.settle()
    left = world.run(left.id)
    assert promoted.rollout is not None
    assert left.rollback is None
    assert left.history[-1].note.startswith(f"rollback_void: shop has {promoted.rollout.deployment} in production")
    assert world.platform.endpoints["shop"].traffic == {promoted.rollout.deployment: 100}
    assert not [id for id in world.book.stated if "model.rolled_back" in id]
    assert (problems(world), world.dead_letters()) == ([], {})


@pytest.mark.ci
def test_a_rollback_to_what_was_deleted_by_hand_is_stated_on_the_run_each_time(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = deployed(world, (60, 80))
    old, new = world.runs()
    assert old.rollout is not None
    del world.platform.endpoints["shop"].deployments[old.rollout.deployment]
    for _ in range(2):
        driver.roll_back("shop")
        driver.settle()
    notes = [line.note for line in world.run(new.id).history[-2:]]
    assert [note.partition(":")[0] for note in notes] == ["deployment_vanished"] * 2
    assert world.dead_letters() == {}


@pytest.mark.ci
def test_a_change_of_traffic_that_azure_lost_is_asked_for_again(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    driver = deployed(world, (60,))
    begin = world.platform.begin_traffic
    calls: list[dict[str, int]] = []

    def losing(endpoint: str, traffic: dict[str, int]) -> None:
        calls.append(traffic)
        if len(calls) > 1:
            begin(endpoint, traffic)

    monkeypatch.setattr(world.platform, "begin_traffic", losing)
    drop(world, "shop", 80, 1)
    driver.settle()
    assert world.runs()[-1].status is Status.DEPLOYED
    assert calls[0] == calls[1]
    assert problems(world) == []


@pytest.mark.ci
def test_the_deletion_of_a_first_model_that_azure_lost_is_asked_for_again(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    driver = prepared(world)
    begin = world.platform.begin_delete_deployment
    calls: list[str] = []

    def losing(endpoint: str, name: str) -> None:
        calls.append(name)
        if len(calls) > 1:
            begin(endpoint, name)

    monkeypatch.setattr(world.platform, "begin_delete_deployment", losing)
    until(driver, lambda: the_run(world).status is Status.DEPLOYING if world.runs() else False)
    driver.cancel(the_run(world))
    driver.settle()
    assert the_run(world).status is Status.ROLLED_BACK
    assert world.platform.endpoints["shop"].deployments == {}
    assert problems(world) == []
