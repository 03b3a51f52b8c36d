"""What a receiver gets, and how often: a real HTTP server on this machine stands for one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from standardwebhooks import Webhook

from shared.clients.webhook import WebhookNotifier
from shared.domain.errors import InvalidInput, Transient
from shared.ports import Channel, Message, Services
from shared.ports.services import BUSY
from shared.records import channels
from shared.steps.notify import BUSY_WAIT_S, WAITS_S, deliver_notification, delivery
from tests.clock import ManualClock
from tests.receiver import Receiver
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import take

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_channel_gets_one_signed_cloudevent(services: Services, receiver: Receiver) -> None:
    queued = delivery(failed("run-000000000000"), receiver.url)
    signing = WebhookNotifier(keys=[SECRET], private_hosts=("127.0.0.1",))
    deliver_notification(queued, replace(services, notifier=signing))
    signing.close()
    ((headers, body),) = receiver.got
    event = json.loads(body)
    assert (event["specversion"], event["type"]) == ("1.0", "droptune.run.failed.v1")
    assert event["data"]["problem"] == {"code": "boom", "message": "it broke", "param": None}
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body + b" ", headers)


def test_a_receiver_that_is_down_is_tried_again_later_until_given_up(
    services: Services, receiver: Receiver, clock: ManualClock
) -> None:
    queued = delivery(failed("run-000000000000"), receiver.url)
    receiver.status = 503
    waits = []
    while True:
        deliver_notification(queued, services)
        before = clock.now()
        clock.advance(max(WAITS_S) + 1)
        again = take(services, "deliveries")
        if not again:
            break
        queued = again[0].message
        assert queued.scheduled_at is not None
        waits.append((queued.scheduled_at - before).total_seconds())
    assert waits == list(WAITS_S)
    assert len(receiver.got) == len(WAITS_S) + 1


@pytest.mark.parametrize(("own", "project"), [(False, "/projects/shop"), (True, None)])
def test_a_delivery_counts_for_its_project_unless_the_channel_is_the_platforms(
    services: Services, own: bool, project: str | None
) -> None:
    busy, channel = Busy(), Channel("https://a.example/", ("*",))
    config = replace(services.config, channels=(channel,) if own else ())
    deliver_notification(
        delivery(failed("run-000000000000"), channel.url), replace(services, notifier=busy, config=config)
    )
    assert busy.projects == [project]


class Busy:
    """A notifier whose receivers have enough calls in progress."""

    def __init__(self) -> None:
        self.projects: list[str | None] = []

    def deliver(self, url: str, message_id: str, body: bytes, project: str | None = None) -> None:
        self.projects.append(project)
        raise Transient(BUSY, "enough")


def test_a_receiver_that_is_busy_costs_no_attempt(services: Services, clock: ManualClock) -> None:
    queued = delivery(failed("run-000000000000"), "https://a.example/")
    for _ in range(len(WAITS_S) + 2):
        before = clock.now()
        deliver_notification(queued, replace(services, notifier=Busy()))
        clock.advance(BUSY_WAIT_S)
        (again,) = take(services, "deliveries")
        assert again.message.scheduled_at == before + timedelta(seconds=BUSY_WAIT_S)
        assert again.message.body == queued.body
        queued = again.message


def test_a_receiver_that_refuses_for_good_is_asked_once_and_noted(services: Services, receiver: Receiver) -> None:
    queued = delivery(failed("run-000000000000"), receiver.url)
    receiver.status = 410
    deliver_notification(queued, services)
    assert len(receiver.got) == 1
    assert channels.is_gone(services.store, receiver.url)
    assert services.bus.depth("deliveries") == 0


VALID = {"id": "x", "type": "droptune.run.failed.v1", "source": "/projects/shop", "specversion": "1.0"}
NO_CLOUDEVENTS = (
    {},
    *({name: text for name, text in VALID.items() if name != left_out} for left_out in VALID),
    *({**VALID, name: wrong} for name in VALID for wrong in ("", None, 1)),
    {**VALID, "data": 10**30},
)


def test_an_event_with_the_required_attributes_is_delivered(services: Services, receiver: Receiver) -> None:
    body = json.dumps({"url": receiver.url, "event": VALID}).encode()
    deliver_notification(Message("m", "s", body), services)
    assert [json.loads(body) for _, body in receiver.got] == [VALID]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("event", NO_CLOUDEVENTS, ids=json.dumps)
def test_what_is_no_cloudevent_is_refused_and_not_sent(
    services: Services, receiver: Receiver, event: dict[str, object]
) -> None:
    body = json.dumps({"url": receiver.url, "event": event}).encode()
    with pytest.raises(InvalidInput, match="malformed_delivery"):
        deliver_notification(Message("m", "s", body), services)
    assert receiver.got == []


def test_a_delivery_to_what_is_no_url_is_given_up(services: Services) -> None:
    body = json.dumps({"url": "https://[::1", "event": VALID}).encode()
    deliver_notification(Message("m", "s", body), services)
    assert services.bus.depth("deliveries") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"url": 1, "attempt": 1, "event": {"id": "x"}}',
        b'{"url": "https://x", "attempt": 0, "event": {}}',
    ],
)
def test_a_malformed_delivery_is_refused_by_name(services: Services, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="malformed_delivery"):
        deliver_notification(Message("m", "s", body), services)
