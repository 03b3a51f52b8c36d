"""What an EventBus promises, whichever it is."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_state_machine

from shared.domain.errors import FailureClass, InvalidInput, LockLost, PermanentFailure
from shared.ports import EventBus, Message, ReceivedMessage
from tests.contract.backends import TOPOLOGY, BusBackend, OpenBus
from tests.contract.threads import in_threads

QUEUE = "orders"
DEAD = "orders/$deadletterqueue"
LOCK_S = TOPOLOGY.lock_duration_s
MAX_DELIVERIES = TOPOLOGY.max_delivery_count


@pytest.fixture
def bus(bused: BusBackend) -> EventBus:
    return bused.bus


def message(id: str, subject: str = "passed", scheduled_at: datetime | None = None) -> Message:
    return Message(id, subject, f'{{"id": "{id}"}}'.encode(), {"runid": id}, scheduled_at)


def ids(received: list[ReceivedMessage]) -> list[str]:
    return [one.message.id for one in received]


def take_one(bused: BusBackend, entity: str = QUEUE) -> ReceivedMessage:
    [received] = bused.take(entity)
    return received


def test_a_message_comes_back_as_it_was_sent(bused: BusBackend) -> None:
    sent = Message("m1", "passed", b"\x00\xff", {"runid": "r1", "city": "Köln"})
    bused.bus.send(QUEUE, [sent])
    received = take_one(bused)
    assert received.message == sent
    assert received.entity == QUEUE
    assert received.delivery_count == 1
    assert received.dead_letter_reason is None
    assert abs(received.enqueued_at - bused.now()) < timedelta(seconds=5)
    assert abs(received.locked_until - bused.now() - timedelta(seconds=LOCK_S)) < timedelta(seconds=2)


def test_messages_come_in_the_order_they_were_sent(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message(f"m{n}") for n in range(5)])
    bused.bus.send(QUEUE, [message(f"m{n}") for n in range(5, 8)])
    received = bused.take(QUEUE, 3) + bused.take(QUEUE, 100)
    assert ids(received) == [f"m{n}" for n in range(8)]
    sequence = [one.sequence_number for one in received]
    assert sequence == sorted(set(sequence))


def test_the_same_message_id_twice_is_two_messages(bused: BusBackend) -> None:
    for _ in range(2):
        bused.bus.send(QUEUE, [message("same")])
    assert ids(bused.take(QUEUE)) == ["same", "same"]


def test_an_empty_entity_gives_nothing(bused: BusBackend) -> None:
    assert bused.take(QUEUE) == []
    assert bused.bus.depth(QUEUE) == 0
    bused.bus.send(QUEUE, [])
    assert bused.take(QUEUE) == []


def test_a_locked_message_is_seen_by_nobody_else(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    take_one(bused)
    assert bused.take(QUEUE) == []
    assert bused.bus.depth(QUEUE) == 1


def test_a_completed_message_is_gone_for_good(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    bused.bus.complete(take_one(bused))
    bused.wait(LOCK_S + 1)
    assert bused.take(QUEUE) == []
    assert bused.bus.depth(QUEUE) == 0


def test_peeking_shows_the_oldest_first_and_locks_nothing(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message(f"m{n}") for n in range(3)])
    for _ in range(2):
        seen = bused.bus.peek(QUEUE, limit=2)
        assert ids(seen) == ["m0", "m1"]
        assert seen[0].message == message("m0")
        assert (seen[0].entity, seen[0].delivery_count) == (QUEUE, 0)
    received = bused.take(QUEUE)
    assert ids(received) == ["m0", "m1", "m2"]
    assert {one.delivery_count for one in received} == {1}
    assert [one.sequence_number for one in received[:2]] == [one.sequence_number for one in seen]


def test_peeking_shows_what_is_locked_and_what_is_scheduled(bused: BusBackend) -> None:
    due = bused.now() + timedelta(seconds=60)
    bused.bus.send(QUEUE, [message("held"), message("later", scheduled_at=due)])
    held = take_one(bused)
    seen = {one.message.id: one for one in bused.bus.peek(QUEUE, limit=10)}
    assert set(seen) == {"held", "later"}
    # Service Bus counts a delivery "when a message lock expires or the message is explicitly abandoned"
    # (documentation of ServiceBusReceivedMessage.delivery_count), so the one under way does not show yet.
    assert (seen["held"].delivery_count, seen["later"].delivery_count) == (0, 0)
    bused.bus.complete(held)
    assert ids(bused.bus.peek(QUEUE, limit=10)) == ["later"]


def test_what_was_only_seen_cannot_be_settled(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1"), message("m2")])
    [held] = bused.take(QUEUE, 1)
    for seen in bused.bus.peek(QUEUE, limit=2):
        assert seen.lock_token == ""
        for settle in settlements(bused.bus):
            with pytest.raises(LockLost):
                settle(seen)
    bused.bus.complete(held)
    assert bused.bus.depth(QUEUE) == 1


def test_peeking_at_dead_letters_shows_why_they_died(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1"), message("m2")])
    bused.bus.dead_letter(bused.take(QUEUE, 1)[0], "Malformed", "the body is no JSON")
    for _ in range(MAX_DELIVERIES):
        take_one(bused)
        bused.wait(LOCK_S + 1)  # nobody looks at the queue any more, and still it shows
    first, second = sorted(bused.bus.peek(DEAD, limit=10), key=lambda one: one.message.id)
    assert (first.dead_letter_reason, first.dead_letter_description) == ("Malformed", "the body is no JSON")
    assert second.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert second.delivery_count == MAX_DELIVERIES
    assert bused.bus.peek(QUEUE, limit=10) == []


def test_a_message_is_settled_once(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1"), message("m2"), message("m3")])
    first, second, third = bused.take(QUEUE)
    bused.bus.complete(first)
    bused.bus.abandon(second)
    bused.bus.dead_letter(third, "Broken", "no JSON")
    for settled in (first, second, third):
        for settle in settlements(bused.bus):
            with pytest.raises(LockLost, match=f"lock_lost: the lock of message {settled.message.id} is gone"):
                settle(settled)
    assert (bused.bus.depth(QUEUE), bused.bus.depth(DEAD)) == (1, 1)


def settlements(bus: EventBus) -> list[Any]:
    return [bus.complete, bus.abandon, bus.renew_lock, lambda one: bus.dead_letter(one, "Broken", "")]


def test_an_abandoned_message_comes_again_at_once_before_later_ones(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1"), message("m2")])
    first = bused.take(QUEUE, 1)[0]
    bused.bus.abandon(first)
    again = bused.take(QUEUE)
    assert [(one.message.id, one.delivery_count) for one in again] == [("m1", 2), ("m2", 1)]
    assert again[0].sequence_number == first.sequence_number
    assert again[0].lock_token != first.lock_token


def test_an_expired_lock_gives_the_message_to_the_next_receiver(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    take_one(bused)
    bused.wait(LOCK_S - 2)
    assert bused.take(QUEUE) == []
    bused.wait(3)
    assert take_one(bused).delivery_count == 2


def test_nothing_can_be_settled_after_its_lock_expired(bused: BusBackend) -> None:
    """Also when nobody has received the message since: it is not ours any more."""
    bused.bus.send(QUEUE, [message("m1")])
    received = take_one(bused)
    bused.wait(LOCK_S + 1)
    for settle in settlements(bused.bus):
        with pytest.raises(LockLost, match="lock_lost: the lock of message m1 is gone"):
            settle(received)
    assert take_one(bused).delivery_count == 2


def test_the_receiver_before_cannot_settle_what_the_next_one_holds(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    before = take_one(bused)
    bused.wait(LOCK_S + 1)
    holder = take_one(bused)
    for settle in settlements(bused.bus):
        with pytest.raises(LockLost, match="lock_lost: the lock of message m1 is gone"):
            settle(before)
    bused.bus.complete(holder)


def test_a_renewed_lock_lasts_its_full_duration_from_then_on(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    received = take_one(bused)
    for _ in range(3):
        bused.wait(LOCK_S - 2)
        renewed = bused.bus.renew_lock(received)
        assert renewed.locked_until > received.locked_until
        assert (renewed.lock_token, renewed.delivery_count) == (received.lock_token, 1)
        received = renewed
    assert bused.take(QUEUE) == []
    bused.bus.complete(received)
    assert bused.bus.depth(QUEUE) == 0


@pytest.mark.parametrize("way", ["abandoned", "expired"])
def test_a_message_that_fails_too_often_is_dead_lettered(bused: BusBackend, way: str) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    for attempt in range(1, MAX_DELIVERIES + 1):
        received = take_one(bused)
        assert received.delivery_count == attempt
        if way == "abandoned":
            bused.bus.abandon(received)
        else:
            bused.wait(LOCK_S + 1)
    assert bused.bus.depth(DEAD) == 1
    assert bused.take(QUEUE) == []
    assert bused.bus.depth(QUEUE) == 0
    dead = take_one(bused, DEAD)
    assert dead.message == message("m1")
    assert dead.entity == DEAD
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"


def test_a_receiver_of_dead_letters_sees_those_of_expired_locks(bused: BusBackend) -> None:
    """The receiver of the queue itself may be dead: nobody else looks at it any more."""
    bused.bus.send(QUEUE, [message("m1")])
    for _ in range(MAX_DELIVERIES):
        take_one(bused)
        bused.wait(LOCK_S + 1)
    assert ids(bused.take(DEAD)) == ["m1"]


def test_a_dead_letter_keeps_the_reason_given(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    bused.bus.dead_letter(take_one(bused), "Malformed", "the body is no JSON")
    assert bused.bus.depth(QUEUE) == 0
    dead = take_one(bused, DEAD)
    assert (dead.dead_letter_reason, dead.dead_letter_description) == ("Malformed", "the body is no JSON")


def test_dead_letters_are_locked_and_settled_but_never_dead_lettered(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1")])
    bused.bus.dead_letter(take_one(bused), "Malformed", "")
    for _ in range(MAX_DELIVERIES + 2):
        dead = take_one(bused, DEAD)
        assert bused.take(DEAD) == []
        bused.bus.abandon(dead)
    take_one(bused, DEAD)
    bused.wait(LOCK_S + 1)
    dead = take_one(bused, DEAD)
    with pytest.raises(InvalidInput, match="already_dead_lettered: message m1 is a dead letter"):
        bused.bus.dead_letter(dead, "Again", "")
    bused.bus.complete(dead)
    assert bused.bus.depth(DEAD) == 0


def test_a_scheduled_message_waits_for_its_time(bused: BusBackend) -> None:
    due = bused.now() + timedelta(seconds=4)
    bused.bus.send(QUEUE, [message("later", scheduled_at=due), message("now")])
    assert bused.bus.depth(QUEUE) == 2
    first = take_one(bused)
    assert first.message.id == "now"
    bused.wait(2)
    assert bused.take(QUEUE) == []
    bused.wait(4)
    scheduled = bused.take(QUEUE)[-1]
    assert (scheduled.message.id, scheduled.delivery_count) == ("later", 1)
    assert abs(scheduled.enqueued_at - due) < timedelta(seconds=2)


def test_scheduled_messages_queue_in_the_order_of_their_times(bused: BusBackend) -> None:
    """One that falls due queues behind those sent meanwhile: its sequence number is given then."""
    now = bused.now()
    bused.bus.send(QUEUE, [message("third", scheduled_at=now + timedelta(seconds=4))])
    bused.bus.send(QUEUE, [message("second", scheduled_at=now + timedelta(seconds=3))])
    bused.bus.send(QUEUE, [message("first")])
    bused.wait(5)
    received = bused.take(QUEUE)
    assert ids(received) == ["first", "second", "third"]
    sequence = [one.sequence_number for one in received]
    assert sequence == sorted(set(sequence))


def test_a_schedule_in_the_past_is_no_schedule(bused: BusBackend) -> None:
    bused.bus.send(QUEUE, [message("m1", scheduled_at=bused.now() - timedelta(seconds=60))])
    assert ids(bused.take(QUEUE)) == ["m1"]


def test_each_subscription_gets_its_own_copy_of_what_it_wants(bused: BusBackend) -> None:
    subjects = ["passed", "failed", "approved", "unheard-of"]
    bused.bus.send("facts", [message(subject, subject) for subject in subjects])
    assert ids(bused.take("facts/all")) == subjects
    assert ids(bused.take("facts/passed")) == ["passed", "approved"]
    failed = take_one(bused, "facts/failed")
    bused.bus.dead_letter(failed, "Malformed", "")
    assert bused.bus.depth("facts/failed") == 0
    assert bused.bus.depth("facts/failed/$deadletterqueue") == 1
    assert bused.bus.depth("facts/all") == 4
    assert bused.bus.depth("facts/all/$deadletterqueue") == 0


def test_a_scheduled_message_reaches_the_subscriptions_when_it_is_due(bused: BusBackend) -> None:
    bused.bus.send("facts", [message("m1", "failed", bused.now() + timedelta(seconds=3))])
    assert bused.take("facts/failed") == []
    bused.wait(4)
    for entity in ("facts/all", "facts/failed"):
        assert ids(bused.take(entity)) == ["m1"]
    assert bused.take("facts/passed") == []


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


def test_a_message_service_bus_would_refuse_is_refused_with_its_batch(bused: BusBackend) -> None:
    limit = bused.max_message_bytes
    bused.bus.send(QUEUE, [Message("fits", "passed", b"x" * (limit - 1024))])
    naive = bused.now().replace(tzinfo=None)
    refused = {
        "message_too_large: message m1 has": Message("m1", "passed", b"x" * (limit + 1)),
        "bad_message_id: a message id has 1 to 128 characters": Message("x" * 129, "passed", b""),
        "bad_message_id: a message id has 1 to 128 characters: ''": Message("", "passed", b""),
        "naive_time: message m1 is scheduled without a time zone": message("m1", scheduled_at=naive),
    }  # fmt: skip
    for error, bad in refused.items():
        with pytest.raises(InvalidInput, match=error):
            bused.bus.send(QUEUE, [message("good"), bad])
    assert ids(bused.take(QUEUE)) == ["fits"]


def test_receive_waits_no_longer_than_asked(bus: EventBus) -> None:
    start = time.monotonic()
    assert bus.receive(QUEUE, max_messages=1, wait_s=0.3) == []
    assert 0.25 < time.monotonic() - start < 3


def test_a_waiting_receiver_gets_a_message_when_it_is_sent(bus: EventBus) -> None:
    got: list[ReceivedMessage] = []
    receiver = threading.Thread(target=lambda: got.extend(bus.receive(QUEUE, max_messages=5, wait_s=20)))
    start = time.monotonic()
    receiver.start()
    time.sleep(0.2)
    bus.send(QUEUE, [message("m1")])
    receiver.join()
    assert ids(got) == ["m1"]
    assert time.monotonic() - start < 5


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
        while batch := bus.receive(QUEUE, max_messages=3, wait_s=0.5):
            received.extend(batch)
            for one in batch:
                bus.complete(one)

    in_threads(8, work)
    assert Counter(ids(received)) == Counter(f"m{n}-{m}" for n in range(4) for m in range(25))
    for n in range(4):
        own = [one for one in received if one.message.id.startswith(f"m{n}-")]
        own.sort(key=lambda one: one.sequence_number)
        assert ids(own) == [f"m{n}-{m}" for m in range(25)]


class Copy:
    """The model of one message on the queue."""

    def __init__(self, number: int, due: datetime | None) -> None:
        self.id = f"m{number}"
        self.due = due  # of its schedule
        self.order: tuple[Any, ...] = ()
        self.deliveries = 0
        self.token: str | None = None
        self.locked_until: datetime | None = None


class QueueMachine(RuleBasedStateMachine):
    """One queue against a model, through sends, failures, renewals and time.

    Time moves by even seconds while locks and schedules last odd ones, so nothing falls due exactly at
    a moment of comparison.
    """

    open_bus: OpenBus
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.context = self.open_bus()
        self.backend = self.context.__enter__()
        self.bus = self.backend.bus
        self.queue: list[Copy] = []
        self.dead: list[str] = []
        self.sent = 0
        self.arrivals = 0

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    @rule(count=st.integers(1, 3), delay_s=st.sampled_from([None, None, 1, 7]))
    def send(self, count: int, delay_s: int | None) -> None:
        due = None if delay_s is None else self.backend.now() + timedelta(seconds=delay_s)
        new = [Copy(self.sent + n, due) for n in range(count)]
        self.sent += count
        self.bus.send(QUEUE, [message(one.id, scheduled_at=due) for one in new])
        self.queue += new
        self.enqueue(new if due is None else [])

    def enqueue(self, copies: list[Copy]) -> None:
        for one in copies:
            self.arrivals += 1
            one.order, one.due = (self.arrivals,), None

    def catch_up(self) -> None:
        now = self.backend.now()
        for one in list(self.queue):
            if one.locked_until is not None and one.locked_until < now:
                self.failed(one)
        fallen_due = [(one.due, one) for one in self.queue if one.due and one.due < now]
        self.enqueue([one for _, one in sorted(fallen_due, key=itemgetter(0))])

    def failed(self, one: Copy) -> None:
        one.token = one.locked_until = None
        if one.deliveries == MAX_DELIVERIES:
            self.queue.remove(one)
            self.dead.append(one.id)

    @rule(target=held, at_most=st.integers(1, 4))
    def receive(self, at_most: int) -> Any:
        self.catch_up()
        ready = sorted((one for one in self.queue if not one.due and not one.token), key=lambda one: one.order)
        received = self.backend.take(QUEUE, at_most)
        assert ids(received) == [one.id for one in ready[: len(received)]]
        assert len(received) <= at_most
        assert bool(received) == bool(ready)
        for one, copy in zip(ready, received, strict=False):
            one.deliveries += 1
            one.token, one.locked_until = copy.lock_token, self.backend.now() + timedelta(seconds=LOCK_S)
            assert copy.delivery_count == one.deliveries
        return multiple(*received)

    def holder(self, received: ReceivedMessage) -> Copy | None:
        """The model's copy, if the lock is still good."""
        self.catch_up()
        return next((one for one in self.queue if one.token == received.lock_token), None)

    @rule(received=consumes(held))
    def complete(self, received: ReceivedMessage) -> None:
        if one := self.holder(received):
            self.bus.complete(received)
            self.queue.remove(one)
        else:
            self.refused(received)

    @rule(received=held)
    def abandon(self, received: ReceivedMessage) -> None:
        if one := self.holder(received):
            self.bus.abandon(received)
            self.failed(one)
        else:
            self.refused(received)

    @rule(received=held)
    def dead_letter(self, received: ReceivedMessage) -> None:
        if one := self.holder(received):
            self.bus.dead_letter(received, "Malformed", "")
            self.queue.remove(one)
            self.dead.append(one.id)
        else:
            self.refused(received)

    @rule(received=held)
    def renew(self, received: ReceivedMessage) -> None:
        if one := self.holder(received):
            self.bus.renew_lock(received)
            one.locked_until = self.backend.now() + timedelta(seconds=LOCK_S)
        else:
            self.refused(received)

    def refused(self, received: ReceivedMessage) -> None:
        for settle in settlements(self.bus):
            with pytest.raises(LockLost):
                settle(received)

    @rule(seconds=st.sampled_from([2, 2, 6]))
    def time_passes(self, seconds: int) -> None:
        self.backend.wait(seconds)

    @invariant()
    def nothing_is_lost(self) -> None:
        self.catch_up()
        assert self.bus.depth(QUEUE) == len(self.queue)
        assert self.bus.depth(DEAD) == len(self.dead)


def test_a_queue_behaves_as_its_model(open_bus: OpenBus, model_examples: int) -> None:
    machine = type("Machine", (QueueMachine,), {"open_bus": staticmethod(open_bus)})
    run_state_machine(
        machine,
        settings=settings(
            max_examples=model_examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
