"""What an EventBus promises of locks, of settling a message, and of dead letters."""

from __future__ import annotations

import pytest

from shared.domain.errors import LockLost
from tests.contract.backends import BusBackend
from tests.contract.bus_support import (
    DEAD,
    LOCK_S,
    MAX_DELIVERIES,
    QUEUE,
    fail_too_often,
    ids,
    message,
    settlements,
    take_one,
)


def test_what_was_only_seen_cannot_be_settled(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1"), message("m2")])
    [held] = bus_backend.take(QUEUE, 1)
    for seen in bus_backend.bus.peek(QUEUE, limit=2):
        assert seen.lock_token == ""
        for settle in settlements(bus_backend.bus):
            with pytest.raises(LockLost):
                settle(seen)
    bus_backend.bus.complete(held)
    assert bus_backend.bus.depth(QUEUE) == 1


def test_peeking_at_dead_letters_shows_why_they_died(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1"), message("m2")])
    fail_too_often(bus_backend)
    for _ in range(MAX_DELIVERIES):
        take_one(bus_backend)
        bus_backend.wait(LOCK_S + 1)  # nobody looks at the queue any more, and still it shows
    first, second = sorted(bus_backend.bus.peek(DEAD, limit=10), key=lambda one: one.message.id)
    for dead in (first, second):
        assert (dead.dead_letter_reason, dead.delivery_count) == ("MaxDeliveryCountExceeded", MAX_DELIVERIES)
    assert bus_backend.bus.peek(QUEUE, limit=10) == []


def test_a_message_is_settled_once(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1"), message("m2")])
    first, second = bus_backend.take(QUEUE)
    bus_backend.bus.complete(first)
    bus_backend.bus.abandon(second)
    for settled in (first, second):
        for settle in settlements(bus_backend.bus):
            with pytest.raises(LockLost, match=f"lock_lost: the lock of message {settled.message.id} is gone"):
                settle(settled)
    assert (bus_backend.bus.depth(QUEUE), bus_backend.bus.depth(DEAD)) == (1, 0)


def test_an_abandoned_message_comes_again_at_once_before_later_ones(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1"), message("m2")])
    first = bus_backend.take(QUEUE, 1)[0]
    bus_backend.bus.abandon(first)
    again = bus_backend.take(QUEUE)
    assert [(one.message.id, one.delivery_count) for one in again] == [("m1", 2), ("m2", 1)]
    assert again[0].sequence_number == first.sequence_number
    assert again[0].lock_token != first.lock_token


def test_an_expired_lock_gives_the_message_to_the_next_receiver(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    take_one(bus_backend)
    bus_backend.wait(LOCK_S - 2)
    assert bus_backend.take(QUEUE) == []
    bus_backend.wait(3)
    assert take_one(bus_backend).delivery_count == 2


def test_nothing_can_be_settled_after_its_lock_expired(bus_backend: BusBackend) -> None:
    """Also when nobody has received the message since: it is not ours any more."""
    bus_backend.bus.send(QUEUE, [message("m1")])
    received = take_one(bus_backend)
    bus_backend.wait(LOCK_S + 1)
    for settle in settlements(bus_backend.bus):
        with pytest.raises(LockLost, match="lock_lost: the lock of message m1 is gone"):
            settle(received)
    assert take_one(bus_backend).delivery_count == 2


def test_the_receiver_before_cannot_settle_what_the_next_one_holds(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    before = take_one(bus_backend)
    bus_backend.wait(LOCK_S + 1)
    holder = take_one(bus_backend)
    for settle in settlements(bus_backend.bus):
        with pytest.raises(LockLost, match="lock_lost: the lock of message m1 is gone"):
            settle(before)
    bus_backend.bus.complete(holder)


def test_a_renewed_lock_lasts_its_full_duration_from_then_on(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    received = take_one(bus_backend)
    for _ in range(3):
        bus_backend.wait(LOCK_S - 2)
        renewed = bus_backend.bus.renew_lock(received)
        assert renewed.locked_until > received.locked_until
        assert (renewed.lock_token, renewed.delivery_count) == (received.lock_token, 1)
        received = renewed
    assert bus_backend.take(QUEUE) == []
    bus_backend.bus.complete(received)
    assert bus_backend.bus.depth(QUEUE) == 0


@pytest.mark.parametrize("way", ["abandoned", "expired"])
def test_a_message_that_fails_too_often_is_dead_lettered(bus_backend: BusBackend, way: str) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    for attempt in range(1, MAX_DELIVERIES + 1):
        received = take_one(bus_backend)
        assert received.delivery_count == attempt
        if way == "abandoned":
            bus_backend.bus.abandon(received)
        else:
            bus_backend.wait(LOCK_S + 1)
    assert bus_backend.bus.depth(DEAD) == 1
    assert bus_backend.take(QUEUE) == []
    assert bus_backend.bus.depth(QUEUE) == 0
    dead = take_one(bus_backend, DEAD)
    assert dead.message == message("m1")
    assert dead.entity == DEAD
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"


def test_a_receiver_of_dead_letters_sees_those_of_expired_locks(bus_backend: BusBackend) -> None:
    """The receiver of the queue itself may be dead: nobody else looks at it any more."""
    bus_backend.bus.send(QUEUE, [message("m1")])
    for _ in range(MAX_DELIVERIES):
        take_one(bus_backend)
        bus_backend.wait(LOCK_S + 1)
    assert ids(bus_backend.take(DEAD)) == ["m1"]


def test_dead_letters_are_locked_and_settled_but_never_dead_lettered(bus_backend: BusBackend) -> None:
    bus_backend.bus.send(QUEUE, [message("m1")])
    fail_too_often(bus_backend)
    for _ in range(MAX_DELIVERIES + 2):
        dead = take_one(bus_backend, DEAD)
        assert bus_backend.take(DEAD) == []
        bus_backend.bus.abandon(dead)
    take_one(bus_backend, DEAD)
    bus_backend.wait(LOCK_S + 1)
    dead = take_one(bus_backend, DEAD)
    bus_backend.bus.complete(dead)
    assert bus_backend.bus.depth(DEAD) == 0
