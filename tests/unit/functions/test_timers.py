"""What functions/timers.py does of itself at each tick: whom it asks, what it publishes, what it survives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from functions import timers
from functions.dispatch import Dispatcher
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import Transient
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Retrain
from shared.domain.run import RolloutRef, Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.records import endpoints, ticks
from shared.runner import Runner
from tests.clock import ManualClock
from tests.fresh_process import fresh_process
from tests.unit.functions.http.support import enter
from tests.unit.shared.support import drop, events_at, take


class Unreachable:
    """A platform that answers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise Transient("azure_ml_down", "503")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Iterator[Services]:
    with fresh_process(tmp_path, monkeypatch) as found:
        yield replace(found, clock=clock, models=Unreachable(), launcher=Unreachable())


@pytest.fixture
def run(services: Services) -> Run:
    created = drop(services, Runner(services))
    assert created is not None
    return created


def tick(services: Services, name: str) -> None:
    timer: func.TimerRequest = None  # type: ignore[assignment]
    getattr(timers, name)(BY_NAME[name], Dispatcher(lambda: services), timer)


def in_production(services: Services, run: Run, days: int | None = None) -> EndpointRecord:
    """The endpoint whose champion is this run."""
    recipe = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=days))
    enter(services, run, Status.DEPLOYED, recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    record = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion=run.id,
        deployment="d-new",
        model="shop:1",
        scoring_uri="http://x/",
        promoted_at=services.clock.now(),
    )
    endpoints.write(services.store, record, replacing=None)
    return record


@pytest.mark.parametrize("status", [Status.DEPLOYING, Status.ROLLING_BACK])
def test_a_platform_that_does_not_answer_leaves_a_rollout_for_the_next_tick(
    services: Services, run: Run, status: Status
) -> None:
    rollout = RolloutRef(endpoint="shop", deployment="d-new", model="shop:1", previous={}, traffic={}, step=0)
    enter(services, run, status, rollout=rollout)
    tick(services, "probe_deployments")
    assert events_at(services, "advance_rollout") == []


def test_a_platform_that_does_not_answer_leaves_deployments_for_the_next_tick(services: Services, run: Run) -> None:
    record = in_production(services, run)
    tick(services, "retire_deployments")
    assert endpoints.read(services.store, "shop") == record


@pytest.mark.parametrize("name", ["retire_deployments", "retrain"])
def test_an_endpoint_whose_run_is_unknown_is_passed_over(services: Services, run: Run, name: str) -> None:
    record = in_production(services, run, days=7)
    unknown = record.model_copy(update={"champion": "run-unknown"})
    endpoints.write(services.store, unknown, replacing=record)
    take(services, "storage-events")
    tick(services, name)
    assert take(services, "storage-events") == []


def test_a_schedule_that_is_due_sends_one_command(services: Services, run: Run, clock: ManualClock) -> None:
    in_production(services, run, days=7)
    take(services, "storage-events")
    tick(services, "retrain")
    assert take(services, "storage-events") == []
    clock.advance(7 * 24 * 3600)
    tick(services, "retrain")
    assert [sent.message.subject for sent in take(services, "storage-events")] == ["droptune.run.start.v1"]


def test_an_overdue_run_is_said_to_be_and_the_tick_is_recorded(
    services: Services, run: Run, clock: ManualClock
) -> None:
    assert run.deadline_at is not None
    clock.advance((run.deadline_at - run.updated_at) / timedelta(seconds=1))
    take(services, "pipeline/fail_run")
    tick(services, "reconcile")
    [event] = events_at(services, "fail_run")
    assert (event.run_id, event.short_type()) == (run.id, "run.overdue")
    assert ticks.previous(services.store) == clock.now()
