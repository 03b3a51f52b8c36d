from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import azure.functions as func
import pytest

from local_stack.functions_host import Host
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, host_json

StartHost = Callable[..., tuple[Host, int]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.functions_host.messages._RECEIVE_WAIT_S", 0.1)
    monkeypatch.setattr("local_stack.functions_host.messages._AFTER_AN_ERROR_S", 0.1)
    monkeypatch.setattr("local_stack.functions_host.timers._LEASE_RETRY_S", 0.1)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SqliteEventBus]:
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, SystemClock())
    yield bus
    bus.close()


@pytest.fixture
def start_host(tmp_path: Path, bus: SqliteEventBus) -> Iterator[StartHost]:
    """`start_host(app, NAME="setting")` returns the running host and its port; all are stopped at the end."""
    hosts: list[Host] = []

    def start(app: func.FunctionApp, **environment: str) -> tuple[Host, int]:
        state = tmp_path / "state"
        host = Host(app, bus, host_json=host_json(tmp_path), environment=environment, state_folder=state)
        port = host.start()
        hosts.append(host)
        return host, port

    yield start
    for host in hosts:
        host.stop()
