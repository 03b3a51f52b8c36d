"""A schedule spends money only where something it would learn from has changed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shared.domain.commands import StartRun
from shared.domain.paths import run_id_of_blob
from shared.domain.run import Run, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.step_support.outcome import message_of
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import World

DAY_S = 24 * 3600
RECIPE = "datasets/shop/recipe.yaml"


def scheduled(world: World) -> Driver:
    """A project whose recipe asks for its newest data once a week, with a champion."""
    prepare(world, "shop")
    world.blobs.write(RECIPE, [*world.blobs.read(RECIPE), b"retrain: {every_days: 7}\n"])
    drop(world, "shop", 70)
    driver = Driver(world, random.Random(0))
    driver.settle()
    assert [run.status for run in world.runs()] == [Status.DEPLOYED]
    return driver


def drop_and_cancel(driver: Driver) -> str:
    """The path of newer data whose run was cancelled while it trained."""
    path = drop(driver.world, "shop", 90, 1)
    driver.world.advance(1)
    driver.drain()
    run = driver.world.runs()[-1]
    assert (run.dataset.path, run.status) == (path, Status.TRAINING)
    driver.cancel(run)
    driver.settle()
    assert driver.world.run(run.id).status is Status.CANCELLED
    return path


def a_week_later(driver: Driver) -> list[Run]:
    """The runs the schedule started, over, of two looks at it."""
    known = {run.id for run in driver.world.runs()}
    driver.world.advance(7 * DAY_S)
    for _ in range(2):
        driver.world.tick("retrain")
        driver.settle()
    assert problems(driver.world) == []
    return [run for run in driver.world.runs() if run.id not in known]


def test_data_of_the_model_in_production_is_not_trained_on_again(make_world: MakeWorld) -> None:
    driver = scheduled(make_world(1))
    champion, jobs = driver.world.runs()[0], set(driver.world.platform.jobs)
    for _ in range(2):
        (run,) = a_week_later(driver)
        assert (run.status, run.duplicate_of, run.parent_run) == (Status.DUPLICATE, champion.id, champion.id)
    assert set(driver.world.platform.jobs) == jobs


def test_newer_data_that_was_declined_is_not_trained_on_again(make_world: MakeWorld) -> None:
    driver = scheduled(make_world(1))
    drop(driver.world, "shop", 60, 1)
    driver.settle()
    declined, jobs = driver.world.runs()[-1], set(driver.world.platform.jobs)
    assert declined.status is Status.DECLINED
    (run,) = a_week_later(driver)
    assert (run.status, run.duplicate_of) == (Status.DUPLICATE, declined.id)
    assert set(driver.world.platform.jobs) == jobs


@pytest.mark.parametrize("name", ["recipe.yaml", "eval.jsonl"])
def test_a_changed_recipe_or_held_out_set_is_trained_with(make_world: MakeWorld, name: str) -> None:
    driver = scheduled(make_world(1))
    path = f"datasets/shop/{name}"
    before = b"".join(driver.world.blobs.read(path))
    changed = before + b"use_case: spares\n" if name == "recipe.yaml" else before * 2
    driver.world.blobs.write(path, [changed])
    (run,) = a_week_later(driver)
    assert run.status in (Status.DEPLOYED, Status.DECLINED)
    assert [job.kind for job in run.jobs] == ["training", "evaluation"]


def test_another_default_base_model_makes_the_data_of_a_project_without_a_recipe_new(make_world: MakeWorld) -> None:
    world = make_world(1)
    driver = Driver(world, random.Random(0))
    drop(world, "shop", 70)
    driver.settle()
    world.config = replace(world.config, default_base_model="microsoft/Phi-4")
    info = world.blobs.info("datasets/shop/train-70-0.jsonl")
    assert info is not None
    world.send(STORAGE_EVENTS, message_of(StartRun(path=info.path, etag=info.etag, key="retrain-x-1")))
    driver.settle()
    assert world.run(run_id_of_blob(info.path, info.etag, "retrain-x-1")).duplicate_of is None


def test_data_whose_run_did_not_come_to_a_judgment_is_trained_on_again(make_world: MakeWorld) -> None:
    driver = scheduled(make_world(1))
    drop_and_cancel(driver)
    (run,) = a_week_later(driver)
    assert run.status is Status.DEPLOYED
    assert a_week_later(driver)[0].duplicate_of == run.id


def test_what_a_person_tried_again_counts_as_judged(make_world: MakeWorld) -> None:
    driver = scheduled(make_world(1))
    info = driver.world.blobs.info(drop_and_cancel(driver))
    assert info is not None
    command = StartRun(path=info.path, etag=info.etag, key="retry", requested_by="ada")
    driver.world.send(STORAGE_EVENTS, message_of(command))
    driver.settle()
    tried = driver.world.run(command.id)
    assert tried.status is Status.DEPLOYED
    assert a_week_later(driver)[0].duplicate_of == tried.id


def test_a_key_from_a_person_trains_on_judged_data_again_and_a_schedules_key_does_not(make_world: MakeWorld) -> None:
    driver = scheduled(make_world(1))
    (champion,) = driver.world.runs()
    for key, requested_by in (("once more", "ada"), ("retrain-x-1", None)):
        data = champion.dataset
        command = StartRun(path=data.path, etag=data.etag, key=key, requested_by=requested_by)
        driver.world.send(STORAGE_EVENTS, message_of(command))
        driver.settle()
        run = driver.world.run(command.id)
        assert (run.status is Status.DUPLICATE) is (requested_by is None)
    assert problems(driver.world) == []
