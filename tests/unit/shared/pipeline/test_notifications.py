"""Who is told, and what a receiver gets: a real HTTP server on this machine stands for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from shared.clients.webhook import WebhookNotifier
from shared.domain.cost import CostEstimate
from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, Problem, Transient
from shared.domain.events import Event, EventData, RunFailed, TrainingStarted
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS
from shared.pipeline import BY_NAME
from shared.ports import Channel, Message, Services
from shared.records import runs
from shared.runner import Handled, Runner
from shared.step_support.outcome import event_of
from shared.steps.deliver_notification import WAITS_S, deliver_notification
from tests.clock import ManualClock
from tests.receiver import Receiver
from tests.unit.shared.pipeline.support import drop, events_at, take

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def told(services: Services, receiver: Receiver) -> Services:
    """Services with one channel, at its defaults."""
    channel = Channel(receiver.url, DEFAULT_NOTIFY_EVENTS)
    return replace(services, config=replace(services.config, channels=(channel,)))


def failed(run_id: str) -> Event[EventData]:
    problem = Problem(code="boom", message="it broke")
    data = RunFailed(failure_class=FailureClass.CODE, problem=problem)
    return Event(data=data, run_id=run_id, project="shop", attempt=1, revision=1, time=datetime(2026, 1, 1, tzinfo=UTC))


def notified(told: Services, event_of: Any) -> list[Message]:
    runner = Runner(told)
    run = drop(told, runner)
    assert run is not None
    assert runner.handle(BY_NAME["notify"], event_of(run.id)) is Handled.APPLIED
    return [received.message for received in take(told, "deliveries")]


def test_a_channel_gets_one_signed_cloudevent(told: Services, receiver: Receiver) -> None:
    (delivery,) = notified(told, failed)
    signing = WebhookNotifier(secret=SECRET, private_hosts=("127.0.0.1",))
    deliver_notification(delivery, replace(told, notifier=signing))
    signing.close()
    ((headers, body),) = receiver.got
    event = json.loads(body)
    assert (event["specversion"], event["type"]) == ("1.0", "droptune.run.failed.v1")
    assert event["data"]["problem"] == {"code": "boom", "message": "it broke", "param": None}
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body + b" ", headers)


HOOK = "https://hooks.example/shop"


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        pytest.param(f"optimiser: adam\nnotify: [{{url: '{HOOK}'}}]\n", [HOOK], id="another setting is wrong"),
        pytest.param(f"notify: [{{url: ftp://x}}, {{url: '{HOOK}'}}]\n", [HOOK], id="another channel is wrong"),
        pytest.param(f"optimiser: 1\nnotify: [{{url: '{HOOK}', events: [model.*]}}]\n", [], id="other events"),
        pytest.param(f"optimiser: 1\nnotify: {{url: '{HOOK}'}}\n", [], id="no list"),
        pytest.param(f"notify: [{{url: '{HOOK}'}}\n", [], id="no YAML"),
    ],
)
def test_a_rejected_run_is_told_to_the_valid_channels_of_its_recipe(
    services: Services, runner: Runner, recipe: str, told: list[str]
) -> None:
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    drop(services, runner)
    assert deliveries_after_validation(services, runner, "validation.failed") == told


def test_a_run_that_fails_before_its_plan_is_told_to_the_channels_of_its_recipe(
    services: Services, runner: Runner
) -> None:
    recipe = f"base_model: droptune/tiny-llama\nnotify: [{{url: '{HOOK}'}}]\n"
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    run = drop(services, runner)
    services.blobs.write("datasets/shop/train.jsonl", [b"replaced"])
    assert run is not None
    (uploaded,) = events_at(services, "validate_dataset")
    runner.handle(BY_NAME["validate_dataset"], uploaded)
    (refused,) = events_at(services, "fail_run")
    runner.handle(BY_NAME["fail_run"], refused)
    (event,) = [event for event in events_at(services, "notify") if event.fact() == "run.failed"]
    runner.handle(BY_NAME["notify"], event)
    assert [json.loads(r.message.body)["url"] for r in take(services, "deliveries")] == [HOOK]


def deliveries_after_validation(services: Services, runner: Runner, fact: str) -> list[str]:
    """URLs that are told the fact which the validation of the only run publishes."""
    (uploaded,) = events_at(services, "validate_dataset")
    assert runner.handle(BY_NAME["validate_dataset"], uploaded) is Handled.APPLIED
    (event,) = [event for event in events_at(services, "notify") if event.fact() == fact]
    runner.handle(BY_NAME["notify"], event)
    return [json.loads(received.message.body)["url"] for received in take(services, "deliveries")]


def test_a_repeated_event_makes_no_second_delivery(told: Services) -> None:
    notified(told, failed)
    runner = Runner(told)
    [run] = runs.unfinished(told.store)
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.REPEATED
    assert take(told, "deliveries") == []


def test_by_default_a_channel_is_not_told_that_training_started(told: Services) -> None:
    runner = Runner(told)
    run = drop(told, runner)
    assert run is not None
    estimate = CostEstimate(low_usd=1, high_usd=2, hourly_usd=1, low_hours=1, high_hours=2)
    event = event_of(run, TrainingStarted(job="j", estimate=estimate), run.updated_at)
    assert runner.handle(BY_NAME["notify"], event) is Handled.IGNORED
    assert take(told, "deliveries") == []


def test_a_receiver_that_is_down_is_tried_again_later_until_given_up(
    told: Services, receiver: Receiver, clock: ManualClock
) -> None:
    (delivery,) = notified(told, failed)
    receiver.status = 503
    waits = []
    while True:
        deliver_notification(delivery, told)
        before = clock.now()
        clock.advance(max(WAITS_S) + 1)
        again = take(told, "deliveries")
        if not again:
            break
        delivery = again[0].message
        assert delivery.scheduled_at is not None
        waits.append((delivery.scheduled_at - before).total_seconds())
    assert waits == list(WAITS_S)
    assert len(receiver.got) == len(WAITS_S) + 1


def test_a_receiver_that_refuses_for_good_is_asked_once(told: Services, receiver: Receiver) -> None:
    (delivery,) = notified(told, failed)
    receiver.status = 410
    deliver_notification(delivery, told)
    assert len(receiver.got) == 1
    assert told.bus.depth("deliveries") == 0


def test_a_private_address_is_refused_before_anything_is_sent(receiver: Receiver) -> None:
    notifier = WebhookNotifier()
    port = receiver.server.server_port
    for url in (
        receiver.url,
        f"https://127.0.0.1:{port}/",
        f"https://localhost:{port}/",
        f"https://[::1]:{port}/",
    ):
        with pytest.raises(PermanentFailure, match="webhook_not_allowed"):
            notifier.deliver(url, "id", b"{}")
    notifier.close()
    assert receiver.got == []


def test_nobody_listening_is_worth_a_retry(receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    url = receiver.url
    receiver.server.server_close()
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url": 1, "attempt": 1, "event": {"id": "x"}}'])
def test_a_malformed_delivery_is_refused_by_name(services: Services, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="malformed_delivery"):
        deliver_notification(Message("m", "s", body), services)
