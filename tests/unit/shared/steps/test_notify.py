"""Which subscriptions get an event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.events import Event, EventData, TrainingStarted, ValidationFailed
from shared.domain.planning.plan import resolve
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS, Recipe
from shared.domain.results import CostEstimate
from shared.domain.run import Run
from shared.domain.subscriptions import MAX_SUBSCRIPTIONS
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.records import outbox
from shared.runner import Handled, Runner
from shared.step_support.outcome import event_of
from shared.steps.notify import notify
from tests.subscriptions import subscribe
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import drop, take


def sent_to(services: Services) -> list[str]:
    return sorted(json.loads(received.message.body)["subscription"] for received in take(services, "deliveries"))


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    run = drop(services, runner)
    assert run is not None
    return run


def started(run: Run) -> Event[EventData]:
    estimate = CostEstimate(low_usd=1, high_usd=2, hourly_usd=1, low_hours=1, high_hours=2)
    return event_of(run, TrainingStarted(job="j", estimate=estimate), run.updated_at)


def test_those_of_the_project_and_of_all_projects_get_what_they_want(
    services: Services, runner: Runner, run: Run
) -> None:
    expected = [
        subscribe(services.store, name="platform"),
        subscribe(services.store, name="own", project="shop", events=["run.*"]),
        subscribe(services.store, name="quiet", project="shop", events=DEFAULT_NOTIFY_EVENTS, severity="error"),
    ]
    subscribe(services.store, name="foreign", project="bank")
    subscribe(services.store, name="models", project="shop", events=["model.*"])
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.APPLIED
    assert sent_to(services) == sorted(one.id for one in expected)
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.REPEATED
    assert sent_to(services) == []


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"events": DEFAULT_NOTIFY_EVENTS}, 0),
        ({"severity": "warning"}, 0),
        ({"severity": "info"}, 1),
        ({"events": ["training.*"]}, 1),
    ],
)
def test_the_default_is_quiet_and_a_severity_leaves_out_what_is_less(
    services: Services, runner: Runner, run: Run, fields: dict[str, Any], count: int
) -> None:
    subscribe(services.store, **fields)
    runner.handle(BY_NAME["notify"], started(run))
    assert len(sent_to(services)) == count


def test_a_recipe_asks_for_more_at_a_subscription_of_its_project_and_at_no_other(services: Services, run: Run) -> None:
    own = subscribe(services.store, name="ops", project="shop", events=["run.failed"], severity="error")
    subscribe(services.store, name="audit", events=["run.failed"])
    subscribe(services.store, name="ops", project="bank")
    more = [{"subscription": name, "events": ["training.*"]} for name in ("ops", "audit", "gone")]
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "notify": more})
    planned = run.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    outcome = notify(started(run), planned, services)
    assert outcome is not None
    assert [json.loads(message.body)["subscription"] for _, message in outcome.messages] == [own.id]
    assert notify(started(run), run, services) is None


def test_a_message_of_the_queue_has_neither_url_nor_key(services: Services, runner: Runner, run: Run) -> None:
    made = subscribe(services.store, "https://jane:zzz@hooks.example/zzz?zzz")
    runner.handle(BY_NAME["notify"], failed(run.id))
    [received] = take(services, "deliveries")
    assert json.loads(received.message.body).keys() == {"subscription", "attempt", "event"}
    assert not any(secret in received.message.body.decode() for secret in ("zzz", *made.keys))


def test_what_a_projects_subscriptions_are_too_many_for_those_of_all_get(
    services: Services, runner: Runner, run: Run
) -> None:
    """Twenty copies of a large event are more than the store takes in one batch."""
    platform = subscribe(services.store)
    for number in range(MAX_SUBSCRIPTIONS):
        subscribe(services.store, name=f"n{number}", project="shop")
    event = event_of(run, ValidationFailed(codes=("x" * 110_000,), errors=1, report="/"), services.clock.now())
    assert runner.handle(BY_NAME["notify"], event) is Handled.REFUSED
    assert sent_to(services) == [platform.id]
    assert runner.handle(BY_NAME["notify"], event) is Handled.REPEATED
    assert sent_to(services) == []


def test_an_event_that_was_told_before_there_were_two_batches_is_not_told_again(
    services: Services, runner: Runner, run: Run
) -> None:
    subscribe(services.store)
    services.store.batch(run.id, [outbox.mark_handled(outbox.inbox_mark("notify", failed(run.id).id))])
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.REPEATED
    assert sent_to(services) == []
