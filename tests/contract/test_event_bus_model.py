"""A queue against a model of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_state_machine

from shared.domain.errors import LockLost
from shared.ports import ReceivedMessage
from tests.contract.backends import OpenBus
from tests.contract.bus_support import DEAD, LOCK_S, MAX_DELIVERIES, QUEUE, ids, message, settlements


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
