"""The Service Bus client as a backend of the contract: on the emulator always, on a live namespace if one is named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.clients.service_bus.client import ServiceBusEventBus
from shared.ports import DEAD_LETTERS
from tests.clock import ManualClock
from tests.contract.backends import BusBackend, OpenBus
from tests.contract.topology import TOPOLOGY
from tests.service_bus_emulator import running

MAX_MESSAGE_BYTES = 256 * 1024
# The SDK needs a moment to ask; a look at an empty queue takes 0.2 s whatever it is told.
ARRIVAL_TIMEOUT_S = 0.1
LIVE_ARRIVAL_TIMEOUT_S = 2.0

LIVE_URL = os.environ.get("LIVE_SERVICE_BUS_URL")
NO_LIVE_URL = "LIVE_SERVICE_BUS_URL is not set: a namespace with the entities of tests/contract/topology.py"


def entities() -> list[str]:
    return [name for entity in TOPOLOGY.entities() for name in (entity, entity + DEAD_LETTERS)]


@contextmanager
def emulated(folder: Path) -> Iterator[OpenBus]:
    """One emulator and one client for all tests: opening a link takes the SDK half a second.

    The emulator's clock stands still between moves, so a slow machine expires no lock. It is ahead of ours, or the
    SDK, which compares with the real time, would take locks for expired that are not.
    """
    clock = ManualClock(datetime.now(UTC) + timedelta(days=1))
    with (
        running(TOPOLOGY, folder / "bus.db", clock) as emulator,
        closing(ServiceBusEventBus(emulator.url, TOPOLOGY)) as bus,
    ):

        def give_back() -> None:
            """What was pushed to the SDK while nobody received: it looks every 5 s, and the clock jumps over them."""
            for entity in entities():
                bus.depth(entity)

        def wait(seconds: float) -> None:
            give_back()
            clock.advance(seconds)
            emulator.catch_up()

        @contextmanager
        def open_bus() -> Iterator[BusBackend]:
            give_back()
            emulator.clear()
            yield BusBackend(bus, clock.now, wait, ARRIVAL_TIMEOUT_S, MAX_MESSAGE_BYTES)

        yield open_bus


@contextmanager
def live() -> Iterator[OpenBus]:
    """A namespace whose queues have the locks and delivery counts of TOPOLOGY; what lies in them is removed."""
    assert LIVE_URL
    with closing(ServiceBusEventBus(LIVE_URL, TOPOLOGY)) as bus:

        @contextmanager
        def open_bus() -> Iterator[BusBackend]:
            backend = BusBackend(bus, lambda: datetime.now(UTC), time.sleep, LIVE_ARRIVAL_TIMEOUT_S, MAX_MESSAGE_BYTES)
            deadline = time.monotonic() + 120  # a message that a test scheduled must fall due first
            while any(bus.depth(entity) for entity in entities()):
                assert time.monotonic() < deadline, "the namespace does not become empty"
                for entity in entities():
                    for received in backend.take(entity):
                        bus.complete(received)
            yield backend

        yield open_bus
