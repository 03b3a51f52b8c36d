from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import azure.functions as func
import pytest

from local_stack.functions_host.host import Host, Limits, NextOccurrence, next_occurrence
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, host_json

StartHost = Callable[..., tuple[Host, int]]
SHORT = Limits(receive_wait_s=0.1, after_error_s=0.1, lease_retry_s=0.1)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SqliteEventBus]:
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, SystemClock())
    yield bus
    bus.close()


@pytest.fixture
def start_host(tmp_path: Path, bus: SqliteEventBus) -> Iterator[StartHost]:
    """`start_host(app, NAME="setting")` returns the running host and its port; all are stopped at the end."""
    hosts: list[Host] = []

    def start(
        app: func.FunctionApp, *, next_occurrence: NextOccurrence = next_occurrence, **environment: str
    ) -> tuple[Host, int]:
        host = Host(
            app,
            bus,
            host_json=host_json(tmp_path),
            environment=environment,
            state_folder=tmp_path / "state",
            limits=SHORT,
            next_occurrence=next_occurrence,
        )
        port = host.start()
        hosts.append(host)
        return host, port

    yield start
    for host in hosts:
        host.stop()
