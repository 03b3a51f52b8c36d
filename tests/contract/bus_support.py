"""What the tests of the bus share: the queue they use, messages, and the ways to settle one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.ports import EventBus, Message, ReceivedMessage
from tests.contract.backends import BusBackend
from tests.contract.topology import TOPOLOGY

QUEUE = "orders"
DEAD = "orders/$deadletterqueue"
LOCK_S = TOPOLOGY.lock_duration_s
MAX_DELIVERIES = TOPOLOGY.max_delivery_count


def message(id: str, subject: str = "passed", scheduled_at: datetime | None = None) -> Message:
    return Message(id, subject, f'{{"id": "{id}"}}'.encode(), {"runid": id}, scheduled_at)


def ids(received: list[ReceivedMessage]) -> list[str]:
    return [one.message.id for one in received]


def take_one(bus_backend: BusBackend, entity: str = QUEUE) -> ReceivedMessage:
    [received] = bus_backend.take(entity)
    return received


def settlements(bus: EventBus) -> list[Any]:
    return [bus.complete, bus.abandon, bus.renew_lock]


def fail_too_often(bus_backend: BusBackend, entity: str = QUEUE) -> None:
    """The next message becomes a dead letter."""
    for _ in range(MAX_DELIVERIES):
        bus_backend.bus.abandon(bus_backend.take(entity, 1)[0])
