"""The host on Service Bus, by the real SDK: what it does on the embedded bus it does here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local_stack.functions_host.host import Host
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.embedded.clock import SystemClock
from shared.ports import ReceivedMessage
from tests.service_bus_emulator import Running, running
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually, host_json, message

# Renewed at half of it, in real time: a machine may stall as long as the other half.
SHORT_LOCK_S = 10.0


class RenewalsNoted(ServiceBusEventBus):
    def __init__(self, url: str) -> None:
        super().__init__(url, TOPOLOGY)
        self.renewed = threading.Event()

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        again = super().renew_lock(received)
        assert again.locked_until > received.locked_until
        self.renewed.set()
        return again


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(TOPOLOGY, tmp_path_factory.mktemp("service-bus") / "bus.db", SystemClock()) as emulator:
        yield emulator


@pytest.fixture
def bus(emulator: Running) -> Iterator[ServiceBusEventBus]:
    emulator.clear()
    with closing(ServiceBusEventBus(emulator.url, TOPOLOGY)) as bus:
        yield bus


def app(handler: Any) -> func.FunctionApp:
    """One function on the queue `work`, one on the subscription `first` of the topic `pipeline`."""
    app = func.FunctionApp()
    app.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="C")(handler)

    @app.service_bus_topic_trigger(arg_name="msg", topic_name="pipeline", subscription_name="first", connection="C")
    def first(msg: func.ServiceBusMessage) -> None:
        handler(msg)

    return app


def test_a_message_of_a_queue_and_one_of_a_topic_are_handled_once_and_completed(start_host, bus):
    seen: list[func.ServiceBusMessage] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        seen.append(msg)

    start_host(app(handle))
    bus.send("work", [message("m1", "droptune.dataset.uploaded.v1", tenant="härtig")])
    bus.send("pipeline", [message("m2", "a"), message("m3", "b")])
    eventually(lambda: len(seen) == 2)
    eventually(lambda: bus.depth("work") + bus.depth("pipeline/first") == 0)
    first, second = sorted(seen, key=lambda msg: msg.message_id)
    assert (first.message_id, second.message_id) == ("m1", "m2")
    assert (first.delivery_count, first.label) == (1, "droptune.dataset.uploaded.v1")
    assert first.application_properties == {"tenant": "härtig"}
    assert first.get_body() == b'{"id": "m1"}'
    assert bus.depth("pipeline/all") == 2


def test_a_function_that_raises_gets_its_message_again_until_it_is_a_dead_letter(start_host, bus, caplog):
    deliveries: list[int | None] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        deliveries.append(msg.delivery_count)
        raise ValueError("it does not work")

    with caplog.at_level(logging.INFO, "local_stack.host"):
        start_host(app(handle))
        bus.send("work", [message("always")])
        # Each line is logged after its message is settled, so the last line may follow the dead letter.
        eventually(lambda: caplog.text.count("outcome=abandoned") == 3)
    assert deliveries == [1, 2, 3]
    assert bus.depth("work") == 0
    [dead] = bus.peek("work/$deadletterqueue", limit=2)
    assert (dead.message.id, dead.dead_letter_reason) == ("always", "MaxDeliveryCountExceeded")


def test_a_scheduled_message_arrives_when_it_is_due(start_host, bus):
    arrived: list[datetime] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        arrived.append(datetime.now(UTC))

    start_host(app(handle))
    due = datetime.now(UTC) + timedelta(seconds=2)
    bus.send("work", [replace(message("later"), scheduled_at=due)])
    eventually(lambda: arrived)
    assert arrived[0] >= due


def test_the_lock_of_a_slow_function_is_renewed(tmp_path: Path) -> None:
    runs: list[int | None] = []
    topology = replace(TOPOLOGY, lock_duration_s=SHORT_LOCK_S)
    with (
        running(topology, tmp_path / "bus.db", SystemClock()) as emulator,
        closing(RenewalsNoted(emulator.url)) as bus,
    ):

        def handle(msg: func.ServiceBusMessage) -> None:
            runs.append(msg.delivery_count)
            assert bus.renewed.wait(60)

        host = Host(app(handle), bus, host_json=host_json(tmp_path), environment={}, state_folder=tmp_path)
        host.start()
        bus.send("work", [message("slow")])
        eventually(lambda: runs)
        eventually(lambda: bus.depth("work") == 0)
        assert host.stop()
    assert runs == [1]


def test_a_stop_completes_what_runs_and_leaves_the_rest(start_host, bus):
    runs: list[str] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        runs.append(msg.message_id)
        time.sleep(0.5)

    host, _ = start_host(app(handle))
    bus.send("work", [message("running")])
    eventually(lambda: runs)
    assert host.stop()
    bus.send("work", [message("late")])
    assert [one.message.id for one in bus.peek("work", limit=2)] == ["late"]
