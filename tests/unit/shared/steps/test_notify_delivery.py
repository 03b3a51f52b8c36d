"""What a target gets, how often, and what is noted: a real HTTP server on this machine stands for one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.domain.errors import InvalidInput, Transient
from shared.domain.policy import PlatformPolicy
from shared.domain.subscriptions import DeliveryState, Subscription, Target
from shared.ports import Message, Services
from shared.ports.services import BUSY
from shared.records import policies
from shared.records import subscriptions as records
from shared.steps.notify import BUSY_WAIT_S, DISABLED_AFTER, WAITS_S, deliver_notification, delivery, redeliver
from tests.clock import ManualClock
from tests.receiver import Receiver
from tests.subscriptions import KEYS, subscribe
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import take

EVENT = failed("run-000000000000").to_cloudevent()


def state(services: Services, subscription: Subscription, id: str = EVENT["id"]) -> DeliveryState | None:
    found = records.delivery(services.store, subscription.id, id)
    return found.state if found else None


def stored(services: Services, subscription: Subscription) -> Subscription:
    found = records.by_id(services.store, subscription.id)
    assert found is not None
    return found


def deliver_all(services: Services, clock: ManualClock) -> int:
    """Until nothing waits; how many messages."""
    count = 0
    while taken := take(services, "deliveries"):
        for received in taken:
            deliver_notification(received.message, services)
        count += len(taken)
        clock.advance(max(WAITS_S) + 1)
    return count


def test_a_subscription_gets_one_signed_cloudevent(services: Services, receiver: Receiver) -> None:
    made = subscribe(services.store, receiver.url)
    queued = delivery(EVENT, made)
    for _ in range(2):  # a message may come twice
        deliver_notification(queued, services)
    ((headers, body),) = receiver.got
    assert json.loads(body) == EVENT
    Webhook(made.keys[0]).verify(body, headers)
    found = records.delivery(services.store, made.id, EVENT["id"])
    assert found is not None
    assert found.state is DeliveryState.DELIVERED
    assert [(one.status, one.code) for one in found.attempts] == [(204, None)]


def test_404_then_200_is_delivered_and_both_are_in_the_log(
    services: Services, receiver: Receiver, clock: ManualClock
) -> None:
    made = subscribe(services.store, receiver.url)
    receiver.status = 404
    deliver_notification(delivery(EVENT, made), services)
    assert state(services, made) is DeliveryState.PENDING
    assert stored(services, made).failing_since == clock.now()
    receiver.status = 200
    clock.advance(WAITS_S[0] + 1)
    assert deliver_all(services, clock) == 1
    found = records.delivery(services.store, made.id, EVENT["id"])
    assert found is not None
    assert found.state is DeliveryState.DELIVERED
    assert [(one.status, one.code) for one in found.attempts] == [(404, "target_refused"), (200, None)]
    assert stored(services, made).failing_since is None


def test_a_target_that_is_down_is_tried_again_until_it_has_failed_and_can_be_redelivered(
    services: Services, receiver: Receiver, clock: ManualClock
) -> None:
    made = subscribe(services.store, receiver.url)
    queued = delivery(EVENT, made)
    receiver.status = 503
    waits: list[float] = []
    while True:
        deliver_notification(queued, services)
        before = clock.now()
        clock.advance(WAITS_S[min(len(waits), len(WAITS_S) - 1)])
        again = take(services, "deliveries")
        if not again:
            break
        queued = again[0].message
        assert queued.scheduled_at is not None
        waits.append((queued.scheduled_at - before).total_seconds())
    assert waits == list(WAITS_S)
    assert len(receiver.got) == len(WAITS_S) + 1
    assert state(services, made) is DeliveryState.FAILED
    receiver.status = 200
    found = records.delivery(services.store, made.id, EVENT["id"])
    assert found is not None
    assert redeliver(made, [found], services) == 1
    assert state(services, made) is DeliveryState.PENDING
    deliver_all(services, clock)
    assert state(services, made) is DeliveryState.DELIVERED
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {queued.id}


class Busy:
    """A notifier whose receivers have enough calls in progress."""

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        raise Transient(BUSY, "enough")

    def problem(self, target: Target) -> str | None:
        return None


def test_a_target_that_is_busy_costs_no_attempt(services: Services, clock: ManualClock) -> None:
    made = subscribe(services.store)
    queued = delivery(EVENT, made)
    for _ in range(len(WAITS_S) + 2):
        before = clock.now()
        deliver_notification(queued, replace(services, notifier=Busy()))
        clock.advance(BUSY_WAIT_S)
        (again,) = take(services, "deliveries")
        assert again.message.scheduled_at == before + timedelta(seconds=BUSY_WAIT_S)
        assert again.message.body == queued.body
        queued = again.message
    assert state(services, made) is None


def notified(services: Services) -> list[tuple[str, str, str]]:
    bodies = [json.loads(received.message.body) for received in take(services, "deliveries")]
    return sorted((one["subscription"], one["event"]["type"], one["event"]["subject"]) for one in bodies)


def test_410_disables_and_those_beside_are_told(services: Services, receiver: Receiver, clock: ManualClock) -> None:
    made = subscribe(services.store, receiver.url, project="shop")
    others = [subscribe(services.store, name="own", project="shop"), subscribe(services.store, name="all")]
    subscribe(services.store, name="foreign", project="bank")
    subscribe(services.store, name="models", events=["model.*"])
    receiver.status = 410
    deliver_notification(delivery(EVENT, made), services)
    disabled = stored(services, made)
    assert disabled.disabled is not None
    assert (disabled.disabled.code, disabled.disabled_at) == ("target_gone", clock.now())
    assert state(services, made) is DeliveryState.FAILED
    fact = "droptune.subscription.disabled.v1"
    assert notified(services) == sorted((one.id, fact, made.id) for one in others)
    receiver.status = 200
    deliver_notification(delivery({**EVENT, "id": "e-2"}, made), services)
    assert len(receiver.got) == 1
    assert state(services, made, "e-2") is DeliveryState.HELD


def test_days_of_nothing_but_failures_disable_and_one_delivery_begins_them_anew(
    services: Services, receiver: Receiver, clock: ManualClock
) -> None:
    made = subscribe(services.store, receiver.url)

    def event(number: int) -> None:
        deliver_notification(delivery({**EVENT, "id": f"e-{number}"}, made), services)

    for number, (status, days) in enumerate(((500, 4), (200, 0), (500, 4), (500, 2))):
        receiver.status = status
        event(number)
        assert stored(services, made).disabled is None
        made = stored(services, made)
        clock.advance(timedelta(days=days).total_seconds())
    assert timedelta(days=4) < DISABLED_AFTER <= timedelta(days=6)
    event(9)
    found = stored(services, made).disabled
    assert found is not None
    assert found.code == "deliveries_failed"
    assert found.message.endswith("127.0.0.1 answered 500")


@pytest.mark.parametrize("rotated", [0, 1])
@pytest.mark.parametrize("known", [0, 1])
def test_a_rotation_between_queue_and_delivery_loses_nothing(
    services: Services, receiver: Receiver, rotated: int, known: int
) -> None:
    """A receiver that knows the old key only, and one that knows the new one only."""
    made = subscribe(services.store, receiver.url)
    queued = delivery(EVENT, made)
    if rotated:
        records.update(services.store, made, lambda one: one.model_copy(update={"keys": (KEYS[2], one.keys[0])}))
    deliver_notification(queued, services)
    [(headers, body)] = receiver.got
    Webhook((KEYS[0], KEYS[2] if rotated else KEYS[1])[known]).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEYS[1] if rotated else KEYS[2]).verify(body, headers)


def test_a_subscription_that_was_deleted_or_written_anew_gets_nothing_of_before(
    services: Services, receiver: Receiver
) -> None:
    made = subscribe(services.store, receiver.url)
    queued = delivery(EVENT, made)
    records.delete(services.store, made)
    deliver_notification(queued, services)
    subscribe(services.store, receiver.url, id="ops-ffffffff")
    deliver_notification(queued, services)
    assert (receiver.got, services.bus.depth("deliveries")) == ([], 0)


def test_a_url_that_was_changed_meanwhile_is_the_one_that_gets_it(services: Services, receiver: Receiver) -> None:
    made = subscribe(services.store, "http://127.0.0.1:1/")
    target = subscribe(services.store, receiver.url, name="other").target
    queued = delivery(EVENT, made)
    records.update(services.store, made, lambda one: one.model_copy(update={"target": target}))
    deliver_notification(queued, services)
    assert len(receiver.got) == 1


def test_a_host_that_the_policy_allows_no_more_gets_nothing_of_the_project_and_the_platforms_does(
    services: Services, receiver: Receiver
) -> None:
    own = subscribe(services.store, receiver.url, project="shop")
    platform = subscribe(services.store, receiver.url, name="platform")
    policies.apply(services.store, PlatformPolicy(notify_hosts=("a.example",)), 0, "root", "root", services.clock.now())
    for one in (own, platform):
        deliver_notification(delivery(EVENT, one), services)
    assert len(receiver.got) == 1
    found = records.delivery(services.store, own.id, EVENT["id"])
    assert found is not None
    assert (found.state, found.attempts[0].code) == (DeliveryState.FAILED, "target_not_allowed")
    assert services.bus.depth("deliveries") == 0


VALID = {"id": "x", "type": "droptune.run.failed.v1", "source": "/projects/shop", "specversion": "1.0"}
NO_CLOUDEVENTS = (
    {},
    *({name: text for name, text in VALID.items() if name != left_out} for left_out in VALID),
    *({**VALID, name: wrong} for name in VALID for wrong in ("", None, 1)),
    {**VALID, "id": "a/b"},
    {**VALID, "data": 10**30},
)


@pytest.mark.parametrize("type", ["webhook", "teams", "slack", "event_grid"])
def test_an_event_with_the_required_attributes_is_delivered(services: Services, receiver: Receiver, type: str) -> None:
    made = subscribe(services.store, receiver.url, type)
    deliver_notification(delivery(VALID, made), services)
    assert len(receiver.got) == 1


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("event", NO_CLOUDEVENTS, ids=json.dumps)
def test_what_is_no_cloudevent_is_refused_and_not_sent(
    services: Services, receiver: Receiver, event: dict[str, object]
) -> None:
    made = subscribe(services.store, receiver.url)
    body = json.dumps({"subscription": made.id, "event": event}).encode()
    with pytest.raises(InvalidInput, match="malformed_delivery"):
        deliver_notification(Message("m", "s", body), services)
    assert receiver.got == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"subscription": 1, "attempt": 1, "event": {"id": "x"}}',
        b'{"subscription": "x", "attempt": 0, "event": {}}',
    ],
)
def test_a_malformed_delivery_is_refused_by_name(services: Services, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="malformed_delivery"):
        deliver_notification(Message("m", "s", body), services)


@pytest.mark.parametrize("id", ["", "x", "-", "ops-", "a/b-1", "no-such"])
def test_a_delivery_for_what_is_no_id_is_dropped(services: Services, id: str) -> None:
    body = json.dumps({"subscription": id, "event": VALID}).encode()
    deliver_notification(Message("m", "s", body), services)
    assert services.bus.depth("deliveries") == 0
