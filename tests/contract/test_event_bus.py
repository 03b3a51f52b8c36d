"""What an EventBus promises, whichever it is: messages sent, seen, received and scheduled.

What a message may hold is in `shared.ports.bus`. On the emulator of Service Bus these are the tests of
`local_stack.service_bus.amqp` and `local_stack.service_bus.service`.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure
from shared.ports import EventBus, Message, ReceivedMessage
from tests.contract.backends import BusBackend
from tests.contract.bus_support import DEAD, LOCK_S, QUEUE, fail_too_often, ids, message, take_one
from tests.contract.threads import in_threads, until_in


def test_a_message_comes_back_as_it_was_sent(bus_backend: BusBackend) -> None:
    sent = Message("m1", "passed", b"\x00\xff", {"runid": "r1", "city": "Köln"})
    bus_backend.bus.send(QUEUE, [sent])
    received = take_one(bus_backend)
    assert received.message == sent
    assert received.entity == QUEUE
    assert received.delivery_count == 1
    assert received.dead_letter_reason is None
    assert abs(received.enqueued_at - bus_backend.now()) < timedelta(seconds=5)
    assert abs(received.locked_until - bus_backend.now() - timedelta(seconds=LOCK_S)) < timedelta(seconds=2)


def test_messages_come_in_the_order_they_were_sent(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message(f"m{n}") for n in range(5)])
    bus_backend.bus.send(QUEUE, [message(f"m{n}") for n in range(5, 8)])
    received = bus_backend.take(QUEUE, 3) + bus_backend.take(QUEUE, 100)
    assert ids(received) == [f"m{n}" for n in range(8)]
    sequence = [one.sequence_number for one in received]
    assert sequence == sorted(set(sequence))


def test_the_same_message_id_twice_is_two_messages(bus_backend: BusBackend) -> None:
    for _ in range(2):
        bus_backend.bus.send(QUEUE, [message("same")])
    assert ids(bus_backend.take(QUEUE)) == ["same", "same"]


def test_an_empty_entity_gives_nothing(bus_backend: BusBackend) -> None:
    assert bus_backend.take(QUEUE) == []
    assert bus_backend.bus.depth(QUEUE) == 0
    bus_backend.bus.send(QUEUE, [])
    assert bus_backend.take(QUEUE) == []


def test_a_locked_message_is_seen_by_nobody_else(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    take_one(bus_backend)
    assert bus_backend.take(QUEUE) == []
    assert bus_backend.bus.depth(QUEUE) == 1


def test_a_completed_message_is_gone_for_good(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    bus_backend.bus.complete(take_one(bus_backend))
    bus_backend.wait(LOCK_S + 1)
    assert bus_backend.take(QUEUE) == []
    assert bus_backend.bus.depth(QUEUE) == 0


def test_peeking_shows_the_oldest_first_and_locks_nothing(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message(f"m{n}") for n in range(3)])
    for _ in range(2):
        seen = bus_backend.bus.peek(QUEUE, limit=2)
        assert ids(seen) == ["m0", "m1"]
        assert seen[0].message == message("m0")
        assert (seen[0].entity, seen[0].delivery_count) == (QUEUE, 0)
    received = bus_backend.take(QUEUE)
    assert ids(received) == ["m0", "m1", "m2"]
    assert {one.delivery_count for one in received} == {1}
    assert [one.sequence_number for one in received[:2]] == [one.sequence_number for one in seen]


def test_peeking_shows_what_is_locked_and_what_is_scheduled(bus_backend: BusBackend) -> None:
    due = bus_backend.now() + timedelta(seconds=60)
    bus_backend.bus.send(QUEUE, [message("held"), message("later", scheduled_at=due)])
    held = take_one(bus_backend)
    seen = {one.message.id: one for one in bus_backend.bus.peek(QUEUE, limit=10)}
    assert set(seen) == {"held", "later"}
    # Service Bus counts a delivery "when a message lock expires or the message is explicitly abandoned"
    # (documentation of ServiceBusReceivedMessage.delivery_count), so the one under way does not show yet.
    assert (seen["held"].delivery_count, seen["later"].delivery_count) == (0, 0)
    bus_backend.bus.complete(held)
    assert ids(bus_backend.bus.peek(QUEUE, limit=10)) == ["later"]


def test_a_scheduled_message_waits_for_its_time(bus_backend: BusBackend) -> None:
    due = bus_backend.now() + timedelta(seconds=4)
    bus_backend.bus.send(QUEUE, [message("later", scheduled_at=due), message("now")])
    assert bus_backend.bus.depth(QUEUE) == 2
    first = take_one(bus_backend)
    assert first.message.id == "now"
    bus_backend.wait(2)
    assert bus_backend.take(QUEUE) == []
    bus_backend.wait(4)
    scheduled = bus_backend.take(QUEUE)[-1]
    assert (scheduled.message.id, scheduled.delivery_count) == ("later", 1)
    assert abs(scheduled.enqueued_at - due) < timedelta(seconds=2)


def test_scheduled_messages_queue_in_the_order_of_their_times(bus_backend: BusBackend) -> None:
    """One that falls due queues behind those sent meanwhile: its sequence number is given then."""
    now = bus_backend.now()
    bus_backend.bus.send(QUEUE, [message("third", scheduled_at=now + timedelta(seconds=4))])
    bus_backend.bus.send(QUEUE, [message("second", scheduled_at=now + timedelta(seconds=3))])
    bus_backend.bus.send(QUEUE, [message("first")])
    bus_backend.wait(5)
    received = bus_backend.take(QUEUE)
    assert ids(received) == ["first", "second", "third"]
    sequence = [one.sequence_number for one in received]
    assert sequence == sorted(set(sequence))


def test_a_schedule_in_the_past_is_no_schedule(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1", scheduled_at=bus_backend.now() - timedelta(seconds=60))])
    assert ids(bus_backend.take(QUEUE)) == ["m1"]


def test_each_subscription_gets_its_own_copy_of_what_it_wants(bus_backend: BusBackend) -> None:
    subjects = ["passed", "failed", "approved", "unknown"]
    bus_backend.bus.send("facts", [message(subject, subject) for subject in subjects])
    assert ids(bus_backend.take("facts/all")) == subjects
    assert ids(bus_backend.take("facts/passed")) == ["passed", "approved"]
    fail_too_often(bus_backend, "facts/failed")
    assert bus_backend.bus.depth("facts/failed") == 0
    assert bus_backend.bus.depth("facts/failed/$deadletterqueue") == 1
    assert bus_backend.bus.depth("facts/all") == 4
    assert bus_backend.bus.depth("facts/all/$deadletterqueue") == 0


def test_a_scheduled_message_reaches_the_subscriptions_when_it_is_due(bus_backend: BusBackend) -> None:
    bus_backend.bus.send("facts", [message("m1", "failed", bus_backend.now() + timedelta(seconds=3))])
    assert bus_backend.take("facts/failed") == []
    bus_backend.wait(4)
    for entity in ("facts/all", "facts/failed"):
        assert ids(bus_backend.take(entity)) == ["m1"]
    assert bus_backend.take("facts/passed") == []


@pytest.mark.parametrize("destination", ["nowhere", "facts/all", DEAD, "orders/", ""])
def test_sending_to_what_is_no_queue_and_no_topic_is_refused(bus: EventBus, destination: str) -> None:
    with pytest.raises(
        PermanentFailure, match=f"unknown_entity: the bus has no entity {re.escape(destination)}$"
    ) as caught:
        bus.send(destination, [message("m1")])
    assert caught.value.failure_class is FailureClass.PLATFORM


@pytest.mark.parametrize("entity", ["nowhere", "facts", "facts/nobody", f"{DEAD}/$deadletterqueue", ""])
def test_receiving_from_an_unknown_entity_is_refused(bus: EventBus, entity: str) -> None:
    receive, peek = partial(bus.receive, entity, max_messages=1, wait_s=0), partial(bus.peek, entity, limit=1)
    for use in (receive, peek, partial(bus.depth, entity)):
        with pytest.raises(PermanentFailure, match="unknown_entity: the bus has no entity"):
            use()


def test_a_message_service_bus_would_refuse_is_refused_with_its_batch(bus_backend: BusBackend) -> None:
    limit = bus_backend.max_message_bytes
    bus_backend.bus.send(QUEUE, [Message("fits", "passed", b"x" * (limit - 1024))])
    naive = bus_backend.now().replace(tzinfo=None)
    refused = {
        "message_too_large: message m1 has": Message("m1", "passed", b"x" * (limit + 1)),
        "bad_message_id: a message id has 1 to 128 characters": Message("x" * 129, "passed", b""),
        "bad_message_id: a message id has 1 to 128 characters: ''": Message("", "passed", b""),
        "naive_time: message m1 is scheduled without a time zone": message("m1", scheduled_at=naive),
    }  # fmt: skip
    for error, bad in refused.items():
        with pytest.raises(InvalidInput, match=error):
            bus_backend.bus.send(QUEUE, [message("good"), bad])
    assert ids(bus_backend.take(QUEUE)) == ["fits"]


def test_receive_waits_no_longer_than_asked(bus: EventBus) -> None:
    start = time.monotonic()
    assert bus.receive(QUEUE, max_messages=1, wait_s=0.3) == []
    assert 0.25 < time.monotonic() - start < 60


def test_a_waiting_receiver_gets_a_message_when_it_is_sent(bus: EventBus) -> None:
    got: list[ReceivedMessage] = []
    receiver = threading.Thread(target=lambda: got.extend(bus.receive(QUEUE, max_messages=5, wait_s=200)))
    receiver.start()
    until_in(receiver, "receive")
    bus.send(QUEUE, [message("m1")])
    receiver.join(timeout=100)
    assert ids(got) == ["m1"]


def test_four_receivers_share_the_messages_and_never_a_lock(bus: EventBus) -> None:
    bus.send(QUEUE, [message(f"m{n}") for n in range(200)])
    received: list[ReceivedMessage] = []

    def work(_: int) -> None:
        while batch := bus.receive(QUEUE, max_messages=7, wait_s=0.5):
            received.extend(batch)
            for one in batch:
                bus.complete(one)

    in_threads(4, work)
    assert Counter(ids(received)) == Counter(f"m{n}" for n in range(200))
    assert len({one.lock_token for one in received}) == 200
    assert {one.delivery_count for one in received} == {1}
    assert bus.depth(QUEUE) == 0


def test_four_senders_and_four_receivers_lose_nothing(bus: EventBus) -> None:
    received: list[ReceivedMessage] = []

    def work(n: int) -> None:
        if n < 4:
            for m in range(25):
                bus.send(QUEUE, [message(f"m{n}-{m}")])
            return
        while len(received) < 100:  # not "while something comes": the senders may come late
            batch = bus.receive(QUEUE, max_messages=3, wait_s=0.5)
            received.extend(batch)
            for one in batch:
                bus.complete(one)

    in_threads(8, work)
    assert Counter(ids(received)) == Counter(f"m{n}-{m}" for n in range(4) for m in range(25))
    for n in range(4):
        own = [one for one in received if one.message.id.startswith(f"m{n}-")]
        own.sort(key=lambda one: one.sequence_number)
        assert ids(own) == [f"m{n}-{m}" for m in range(25)]
