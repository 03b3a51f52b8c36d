"""The implementations every contract suite runs against; to add one, add its opener to a dictionary.

An opener is a context manager. Tests name their partitions, types and blobs uniquely, so a store or a
container may be shared by all tests; the queues of a bus must be empty when it is opened.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from shared.clients.blob import AzureBlobStore
from shared.clients.cosmos import parse_url
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.store import SqliteRunStore
from shared.ports import BlobStore, EventBus, ReceivedMessage, RunStore
from shared.services import build_blob_store, build_run_store
from tests.clock import ManualClock
from tests.contract.topology import TOPOLOGY
from tests.emulator_servers import BLOB_CONTAINER, azurite_url, cosmos_url


@dataclass
class StoreBackend:
    """`wait` lets time pass for the store: a clock moved, or a real sleep."""

    store: RunStore
    wait: Callable[[float], None]


@dataclass
class BusBackend:
    """`now` and `wait` are the bus's time; `timeout_s` is how long a message at hand may take to arrive."""

    bus: EventBus
    now: Callable[[], datetime]
    wait: Callable[[float], None]
    timeout_s: float
    max_message_bytes: int

    def take(self, entity: str, at_most: int = 100) -> list[ReceivedMessage]:
        """What can be received now: a bus may hand it out in several portions."""
        taken: list[ReceivedMessage] = []
        while len(taken) < at_most:
            more = self.bus.receive(entity, max_messages=at_most - len(taken), wait_s=self.timeout_s)
            if not more:
                break
            taken += more
        return taken


@dataclass
class BlobBackend:
    blobs: BlobStore
    container: str


@contextmanager
def embedded_store() -> Iterator[StoreBackend]:
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteRunStore(Path(folder, "state.db"), clock)
        yield StoreBackend(store, clock.advance)
        store.close()


@contextmanager
def cosmos_emulator() -> Iterator[StoreBackend]:
    """The real SDK; the server's clock is moved, not waited for."""
    url = cosmos_url()
    endpoint = parse_url(url).endpoint

    def advance(seconds: float) -> None:
        httpx.post(
            f"{endpoint}_emulator/advance?s={seconds}", trust_env=False, timeout=60, verify=False
        ).raise_for_status()

    with closing(build_run_store(url)) as store:
        yield StoreBackend(store, advance)


@contextmanager
def live_cosmos() -> Iterator[StoreBackend]:
    with closing(build_run_store(_live("LIVE_RUN_STORE_URL"))) as store:
        yield StoreBackend(store, time.sleep)


@contextmanager
def embedded_bus() -> Iterator[BusBackend]:
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        bus = SqliteEventBus(Path(folder, "bus.db"), TOPOLOGY, clock)
        yield BusBackend(bus, clock.now, clock.advance, timeout_s=0, max_message_bytes=256 * 1024)
        bus.close()


@contextmanager
def embedded_blobs() -> Iterator[BlobBackend]:
    with tempfile.TemporaryDirectory() as folder:
        yield BlobBackend(FileBlobStore(folder), "contract")


@contextmanager
def _azure_blobs(url: str) -> Iterator[BlobBackend]:
    blobs = build_blob_store(url)
    assert isinstance(blobs, AzureBlobStore)
    with closing(blobs):
        yield BlobBackend(blobs, BLOB_CONTAINER)


@contextmanager
def azurite() -> Iterator[BlobBackend]:
    with _azure_blobs(azurite_url()) as backend:
        yield backend


@contextmanager
def live_blobs() -> Iterator[BlobBackend]:
    """Live Blob Storage; its container `contract` must be there."""
    with _azure_blobs(_live("LIVE_BLOB_STORE_URL")) as backend:
        yield backend


def _live(setting: str) -> str:
    url = os.environ.get(setting)
    if not url:
        pytest.skip(f"{setting} is not set: not run on live Azure")
    return url


OpenStore = Callable[[], AbstractContextManager[StoreBackend]]
OpenBus = Callable[[], AbstractContextManager[BusBackend]]
OpenBlobs = Callable[[], AbstractContextManager[BlobBackend]]

STORES: dict[str, OpenStore] = {
    "embedded": embedded_store,
    "cosmos-emulator": cosmos_emulator,
    "cosmos-live": live_cosmos,
}
BUSES: dict[str, OpenBus] = {"embedded": embedded_bus}
BLOB_STORES: dict[str, OpenBlobs] = {"embedded": embedded_blobs, "azurite": azurite, "blobs-live": live_blobs}
