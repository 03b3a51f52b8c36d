"""Service Bus triggers: at least once, peek-lock, settled by returning or raising."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local_stack.functions_host.host import Host
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.ports import ReceivedMessage
from tests.clock import ManualClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually, host_json, message, queue_app


def outcomes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    """Message, outcome and whether there is a traceback, of each invocation logged so far; sorted."""
    records = [vars(record) for record in caplog.records if hasattr(record, "outcome")]
    return sorted((one["message_id"], one["outcome"], bool(one["exc_info"])) for one in records)


def test_subscriptions_of_blueprints(start_host, bus):
    seen: dict[str, list[str]] = {"first": [], "all": []}
    blueprint = func.Blueprint()

    @blueprint.service_bus_topic_trigger(
        arg_name="event", topic_name="pipeline", subscription_name="first", connection="C"
    )
    def first(event: func.ServiceBusMessage) -> None:
        seen["first"].append(event.message_id)

    @blueprint.service_bus_topic_trigger(
        arg_name="event", topic_name="pipeline", subscription_name="%PREFIX%l", connection="C"
    )
    def everything(event: func.ServiceBusMessage) -> None:
        seen["all"].append(event.message_id)

    app = func.FunctionApp()
    app.register_functions(blueprint)
    start_host(app, PREFIX="al")
    bus.send("pipeline", [message("1", "a"), message("2", "b")])
    eventually(lambda: seen["first"] == ["1"] and sorted(seen["all"]) == ["1", "2"])


def test_an_exception_redelivers_and_the_bus_dead_letters_at_its_maximum(start_host, bus, caplog):
    deliveries: dict[str, list[int | None]] = {"once": [], "always": []}

    def handle(msg: func.ServiceBusMessage) -> None:
        deliveries[msg.message_id].append(msg.delivery_count)
        if msg.message_id == "always" or msg.delivery_count == 1:
            raise ValueError("it does not work")

    with caplog.at_level(logging.INFO, "local_stack.host"):
        start_host(queue_app(handle), QUEUE="work")
        bus.send("work", [message("once"), message("always")])
        eventually(lambda: len(outcomes(caplog)) == 5)
    assert bus.depth("work") == 0
    assert deliveries == {"once": [1, 2], "always": [1, 2, 3]}
    [dead] = bus.receive("work/$deadletterqueue", max_messages=2, wait_s=0)
    assert dead.message.id == "always"
    assert outcomes(caplog) == [("always", "abandoned", True)] * 3 + [
        ("once", "abandoned", True),
        ("once", "completed", False),
    ]


def run_one_message(handle: Any, bus: SqliteEventBus, config: Path, folder: Path) -> None:
    """Send one message to a host of its own, wait until it has left the queue, and stop the host."""
    host = Host(queue_app(handle), bus, host_json=config, environment={"QUEUE": "work"}, state_folder=folder)
    host.start()
    bus.send("work", [message("m")])
    eventually(lambda: bus.depth("work") == 0)
    assert host.stop()


class ShortLocks(SqliteEventBus):
    """Locks last two seconds of a clock that the test moves, so a stalled machine does not let one expire."""

    def __init__(self, file: Path) -> None:
        self.clock, self.renewed = ManualClock(datetime.now(UTC)), threading.Event()
        super().__init__(file, replace(TOPOLOGY, lock_duration_s=2.0), self.clock)

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        again = super().renew_lock(received)
        self.renewed.set()
        return again


@pytest.fixture
def bus_of_short_locks(tmp_path: Path) -> Iterator[ShortLocks]:
    with closing(ShortLocks(tmp_path / "short.db")) as bus:
        yield bus


def test_the_lock_of_a_slow_function_is_renewed(bus_of_short_locks, tmp_path, caplog):
    deliveries: list[int | None] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        deliveries.append(msg.delivery_count)
        bus_of_short_locks.clock.advance(1.5)
        assert bus_of_short_locks.renewed.wait(60)
        bus_of_short_locks.clock.advance(1.5)  # the lock as it was delivered is over

    with caplog.at_level(logging.INFO, "local_stack.host"):
        run_one_message(handle, bus_of_short_locks, host_json(tmp_path), tmp_path)
    assert deliveries == [1]
    assert outcomes(caplog) == [("m", "completed", False)]


def test_a_lock_is_not_renewed_for_ever(bus_of_short_locks, tmp_path, caplog):
    deliveries: list[int | None] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        deliveries.append(msg.delivery_count)
        if msg.delivery_count == 1:
            bus_of_short_locks.clock.advance(3)

    config = host_json(tmp_path, maxAutoLockRenewalDuration="00:00:00")
    with caplog.at_level(logging.INFO, "local_stack.host"):
        run_one_message(handle, bus_of_short_locks, config, tmp_path)
    assert deliveries == [1, 2]
    assert outcomes(caplog) == [("m", "completed", False), ("m", "lock_lost", False)]


def test_many_messages_are_completed_once_each_within_the_limit(start_host, bus, caplog):
    guard = threading.Lock()
    seen: list[str] = []
    running = most = 0

    def handle(msg: func.ServiceBusMessage) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with guard:
            running -= 1
            seen.append(msg.message_id)

    start_host(queue_app(handle), QUEUE="work")
    ids = [f"m-{number:03}" for number in range(100)]
    bus.send("work", [message(id) for id in ids])
    eventually(lambda: bus.depth("work") == 0)
    assert sorted(seen) == ids
    assert 1 < most <= 4  # maxConcurrentCalls


class AwayOnce(SqliteEventBus):
    """A bus that cannot be reached at first."""

    failures = 1

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("away")
        return super().receive(entity, max_messages=max_messages, wait_s=wait_s)


def test_a_bus_that_fails_for_a_moment_is_tried_again(tmp_path, caplog):
    seen: list[str] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    with closing(AwayOnce(tmp_path / "away.db", TOPOLOGY, SystemClock())) as bus:
        run_one_message(handle, bus, host_json(tmp_path), tmp_path)
    assert seen == ["m"]
    assert "cannot receive from work" in caplog.text
