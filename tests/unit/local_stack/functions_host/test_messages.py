"""Service Bus triggers: at least once, peek-lock, settled by returning or raising."""

from __future__ import annotations

import asyncio
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

from local_stack.functions_host import Host
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.ports import ReceivedMessage
from tests.clock import ManualClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually, host_json, message


def queue_app(handler: Any) -> func.FunctionApp:
    app = func.FunctionApp()
    app.service_bus_queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="ServiceBusConnection")(handler)
    return app


def outcomes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    """Message, outcome and whether there is a traceback, of each invocation logged so far; sorted."""
    records = [vars(record) for record in caplog.records if hasattr(record, "outcome")]
    return sorted((one["message_id"], one["outcome"], bool(one["exc_info"])) for one in records)


def test_a_message_arrives_as_azure_functions_own_type(start_host, bus):
    seen: list[func.ServiceBusMessage] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        seen.append(msg)

    start_host(queue_app(handle), QUEUE="work")
    before = datetime.now(UTC)
    bus.send("work", [message("m-1", "droptune.dataset.uploaded.v1", tenant="härtig", attempt="1")])
    eventually(lambda: bus.depth("work") == 0)

    [msg] = seen
    assert isinstance(msg, func.ServiceBusMessage)
    assert msg.message_id == "m-1"
    assert msg.subject == msg.label == "droptune.dataset.uploaded.v1"
    assert msg.get_body() == b'{"id": "m-1"}'
    assert msg.application_properties == {"tenant": "härtig", "attempt": "1"}
    assert msg.delivery_count == 1
    assert msg.lock_token
    assert msg.enqueued_time_utc is not None
    assert msg.locked_until is not None
    assert before <= msg.enqueued_time_utc <= datetime.now(UTC)
    assert msg.locked_until > msg.enqueued_time_utc


def test_subscriptions_of_blueprints_sync_and_async(start_host, bus):
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
    async def everything(event: func.ServiceBusMessage, context: func.Context) -> None:
        assert context.function_name == "everything"
        assert context.invocation_id
        assert context.trace_context.trace_parent.startswith("00-")
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


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stop_waits_for_the_running_function(kind, start_host, bus):
    begun, ended = threading.Event(), []

    def handle(msg: func.ServiceBusMessage) -> None:
        begun.set()
        time.sleep(0.4)
        ended.append(msg.message_id)

    async def handle_async(msg: func.ServiceBusMessage) -> None:
        begun.set()
        await asyncio.sleep(0.4)
        ended.append(msg.message_id)

    host, _ = start_host(queue_app(handle if kind == "sync" else handle_async), QUEUE="work")
    bus.send("work", [message("running")])
    assert begun.wait(60)
    assert host.stop()
    assert ended == ["running"]
    bus.send("work", [message("late")])
    assert bus.depth("work") == 1  # the running one was completed, the late one not received


def test_a_stop_gives_up_in_the_end_and_says_so(start_host, bus):
    begun, end = threading.Event(), threading.Event()

    def handle(msg: func.ServiceBusMessage) -> None:
        begun.set()
        end.wait(120)

    host, _ = start_host(queue_app(handle), QUEUE="work")
    bus.send("work", [message("stuck")])
    assert begun.wait(60)
    assert not host.stop(grace_s=0.3)
    assert bus.depth("work") == 1
    end.set()
    eventually(lambda: bus.depth("work") == 0)


def test_a_disabled_function_is_not_called_and_its_messages_wait(start_host, bus):
    seen: list[str] = []
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="C")
    def paused(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    @app.service_bus_topic_trigger(arg_name="msg", topic_name="pipeline", subscription_name="first", connection="C")
    def runs(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    start_host(app, **{"AzureWebJobs.paused.Disabled": "true", "AzureWebJobs.runs.Disabled": "false"})
    bus.send("work", [message("waits")])
    bus.send("pipeline", [message("comes")])
    eventually(lambda: bus.depth("pipeline/first") == 0)
    assert seen == ["comes"]
    assert bus.depth("work") == 1


def test_no_body_is_logged(start_host, bus, caplog):
    def handle(msg: func.ServiceBusMessage) -> None:
        raise ValueError("refused")

    with caplog.at_level(logging.DEBUG):
        start_host(queue_app(handle), QUEUE="work")
        bus.send("work", [message("m")])
        eventually(lambda: bus.depth("work") == 0)
    assert "id=m outcome=abandoned" in caplog.text
    assert '{"id"' not in caplog.text
