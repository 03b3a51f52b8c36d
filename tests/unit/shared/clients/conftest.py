from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest

from shared.clients.service_bus.client import ServiceBusEventBus
from shared.domain.topology import TopicSubscription, Topology
from shared.embedded.clock import SystemClock
from tests.service_bus_emulator import Running, running

TOPOLOGY = Topology(queues=("orders",), topics={"facts": (TopicSubscription("all", None),)}, lock_duration_s=300.0)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """In real time."""
    with running(TOPOLOGY, tmp_path_factory.mktemp("service-bus") / "bus.db", SystemClock()) as emulator:
        yield emulator


@pytest.fixture
def bus(emulator: Running) -> Iterator[ServiceBusEventBus]:
    emulator.clear()
    with closing(ServiceBusEventBus(emulator.url, TOPOLOGY)) as bus:
        yield bus
    gc.collect()  # now, where the warning is ignored: the SDK leaves the socket of a broken connection open
