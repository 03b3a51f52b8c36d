"""What the contract cannot reach: addresses, broken connections, a busy service, a namespace that lacks something."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from azure.servicebus.amqp import AmqpAnnotatedMessage

from shared.clients.service_bus.client import ServiceBusEventBus, connect
from shared.domain.errors import InvalidInput, LockLost, PermanentFailure, Transient
from shared.domain.topology import Topology
from shared.ports import Message, ReceivedMessage
from tests.contract.threads import until_in
from tests.service_bus_emulator import Running
from tests.unit.shared.clients.conftest import TOPOLOGY

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def message(id: str, body: bytes = b"{}") -> Message:
    return Message(id, "passed", body)


def receive_one(bus: ServiceBusEventBus, wait_s: float = 100) -> ReceivedMessage:
    [received] = bus.receive("orders", max_messages=1, wait_s=wait_s)
    return received


def test_an_entity_that_the_namespace_lacks_is_unknown(emulator: Running) -> None:
    bus = ServiceBusEventBus(emulator.url, Topology(queues=("forgotten",)))
    for use in (
        lambda: bus.send("forgotten", [message("m1")]),
        lambda: bus.receive("forgotten", max_messages=1, wait_s=0),
        lambda: bus.depth("forgotten"),
    ):
        with pytest.raises(PermanentFailure, match="unknown_entity: the bus has no entity forgotten"):
            use()
    bus.close()


def test_all_goes_on_after_the_connections_broke(bus: ServiceBusEventBus, emulator: Running) -> None:
    bus.send("orders", [message("m1"), message("m2")])
    first, second = receive_one(bus), receive_one(bus)
    emulator.drop_connections()
    bus.complete(first)  # its receiver is gone; the SDK settles with the token
    emulator.drop_connections()
    assert bus.renew_lock(second).locked_until > second.locked_until
    emulator.drop_connections()
    bus.send("orders", [message("m3")])
    emulator.drop_connections()
    assert receive_one(bus).message.id == "m3"
    assert bus.depth("orders") == 2


def test_a_busy_service_is_asked_again_and_a_full_queue_is_told(bus: ServiceBusEventBus, emulator: Running) -> None:
    emulator.fail_next("orders", "com.microsoft:server-busy", times=1)
    bus.send("orders", [message("m1")])
    emulator.fail_next("orders", "amqp:resource-limit-exceeded", times=1)
    with pytest.raises(Transient, match="service_bus_unavailable: orders: "):
        bus.send("orders", [message("m2")])
    assert bus.depth("orders") == 1


def test_no_access_is_no_matter_of_trying_again(bus: ServiceBusEventBus, emulator: Running) -> None:
    emulator.fail_next("facts", "amqp:unauthorized-access", times=4)
    with pytest.raises(PermanentFailure, match="service_bus_refused: facts: "):
        bus.send("facts", [message("m1")])


def test_more_than_one_batch_arrives_whole_and_in_order(bus: ServiceBusEventBus) -> None:
    large = b"x" * 100_000
    bus.send("orders", [message(f"m{n}", large) for n in range(5)])
    assert [one.message.id for one in bus.peek("orders", limit=10)] == [f"m{n}" for n in range(5)]


def test_a_message_that_fits_only_without_its_envelope_is_refused_by_name(bus: ServiceBusEventBus) -> None:
    """Our own count leaves out the encoding; what passes it and is too large still is the caller's fault."""
    with pytest.raises(InvalidInput, match="message_too_large: orders takes no message as large as m1"):
        bus.send("orders", [message("m1", b"x" * (256 * 1024 - 20))])


def test_another_process_cannot_settle_with_the_token(bus: ServiceBusEventBus, emulator: Running) -> None:
    bus.send("orders", [message("m1")])
    received = receive_one(bus)
    other = ServiceBusEventBus(emulator.url, TOPOLOGY)
    with pytest.raises(LockLost):
        other.complete(received)
    with pytest.raises(LockLost):
        bus.complete(replace(received, lock_token="made up"))
    bus.complete(received)
    other.close()


def test_what_was_pushed_to_a_receiver_that_went_idle_comes_free_and_counts_as_no_delivery(
    bus: ServiceBusEventBus, emulator: Running
) -> None:
    assert bus.receive("orders", max_messages=1, wait_s=0) == []
    bus.send("orders", [message("m1")])  # goes to the look that found nothing
    other = ServiceBusEventBus(emulator.url, TOPOLOGY)
    received = receive_one(other)
    assert (received.message.id, received.delivery_count) == ("m1", 1)
    other.complete(received)
    other.close()


def test_settling_does_not_wait_for_a_receiver_that_waits(bus: ServiceBusEventBus) -> None:
    bus.send("orders", [message("m1")])
    received = receive_one(bus)
    waiting = threading.Thread(target=lambda: bus.receive("orders", max_messages=1, wait_s=200))
    waiting.start()
    until_in(waiting, "receive_messages")
    bus.complete(received)
    assert waiting.is_alive()
    bus.send("orders", [message("m2")])
    waiting.join(timeout=100)
    assert not waiting.is_alive()


def test_closing_ends_a_wait_and_refuses_what_comes_later(emulator: Running) -> None:
    bus = ServiceBusEventBus(emulator.url, TOPOLOGY)
    got: list[list[ReceivedMessage]] = []
    receiver = threading.Thread(target=lambda: got.append(bus.receive("orders", max_messages=1, wait_s=200)))
    receiver.start()
    until_in(receiver, "receive_messages")
    bus.close()
    bus.close()
    receiver.join(timeout=100)
    assert got == [[]]
    with pytest.raises(RuntimeError, match="the bus is closed"):
        bus.depth("orders")


# What AMQP lets other senders put into application properties and bodies.
FOREIGN: dict[Any, Any] = {
    "tenant": "caf\u00e9",
    b"\xff\x00": b"east",
    "priority": 2,
    "share": 2.5,
    "flag": True,
    "nothing": None,
    "id": UUID(int=7),
    "at": datetime(2026, 1, 1, tzinfo=UTC),
}


def test_a_message_of_another_sender_can_be_looked_at_whatever_it_carries(
    bus: ServiceBusEventBus, emulator: Running
) -> None:
    bodies = [*FOREIGN.values(), b"\xff", [b"\xff"], {"a": b"\xff"}]
    with connect(emulator.url, None) as client, client.get_queue_sender("orders") as sender:
        for body in bodies:
            sender.send_messages(AmqpAnnotatedMessage(value_body=body, application_properties=dict(FOREIGN)))
    seen = bus.peek("orders", limit=len(bodies))
    assert len(seen) == len(bodies)
    for one in seen:
        expected = {"\ufffd\x00": "east", "priority": "2", "share": "2.5", "id": str(UUID(int=7)), "flag": "True"}
        assert expected.items() <= one.message.properties.items()
        assert {type(text) for pair in one.message.properties.items() for text in pair} == {str}
