"""Each contract test runs once for every implementation in `backends`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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


@pytest.fixture(params=BUSES)
def open_bus(request: pytest.FixtureRequest) -> OpenBus:
    """For tests that need several buses; the others take `bused`."""
    return BUSES[request.param]


@pytest.fixture
def bused(open_bus: OpenBus) -> Iterator[BusBackend]:
    with open_bus() as backend:
        yield backend


@pytest.fixture(params=BLOB_STORES)
def blobbed(request: pytest.FixtureRequest) -> Iterator[BlobBackend]:
    with BLOB_STORES[request.param]() as backend:
        yield backend
