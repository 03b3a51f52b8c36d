"""What an EventBus promises of locks, of settling a message, and of dead letters."""

from __future__ import annotations

import pytest

from shared.domain.errors import InvalidInput, LockLost
from tests.contract.backends import BusBackend
from tests.contract.bus_support import DEAD, LOCK_S, MAX_DELIVERIES, QUEUE, ids, message, settlements, take_one


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
