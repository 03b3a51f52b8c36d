"""Each contract test runs once for every implementation in `backends`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.ports import EventBus
from tests.contract import service_bus
from tests.contract.backends import (
    BLOB_STORES,
    BUSES,
    STORES,
    BlobBackend,
    BusBackend,
    OpenBus,
    OpenStore,
    StoreBackend,
)


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """For tests that need several stores; the others take `stored`."""
    return STORES[request.param]


@pytest.fixture
def stored(open_store: OpenStore) -> Iterator[StoreBackend]:
    with open_store() as backend:
        yield backend


@pytest.fixture(params=[*BUSES, "emulated", "live"])
def open_bus(request: pytest.FixtureRequest) -> OpenBus:
    """For tests that need several buses; the others take `bus_backend`."""
    if request.param in BUSES:
        return BUSES[request.param]
    opened: OpenBus = request.getfixturevalue(f"{request.param}_bus")
    return opened


@pytest.fixture(scope="session")
def emulated_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBus]:
    with service_bus.emulated(tmp_path_factory.mktemp("service-bus")) as open_bus:
        yield open_bus


@pytest.fixture(scope="session")
def live_bus() -> Iterator[OpenBus]:
    if not service_bus.LIVE_URL:
        pytest.skip(service_bus.NO_LIVE_URL)
    with service_bus.live() as open_bus:
        yield open_bus


@pytest.fixture
def model_examples(request: pytest.FixtureRequest) -> int:
    """Ways of a queue to try. Through the SDK a look at an empty queue takes 0.2 s; live, time passes as it does."""
    return {"embedded": 60, "emulated": 6, "live": 2}[request.node.callspec.params["open_bus"]]


@pytest.fixture
def bus_backend(open_bus: OpenBus) -> Iterator[BusBackend]:
    with open_bus() as backend:
        yield backend


@pytest.fixture
def bus(bus_backend: BusBackend) -> EventBus:
    """For tests that let no time pass."""
    return bus_backend.bus


@pytest.fixture(params=BLOB_STORES)
def blob_backend(request: pytest.FixtureRequest) -> Iterator[BlobBackend]:
    with BLOB_STORES[request.param]() as backend:
        yield backend
