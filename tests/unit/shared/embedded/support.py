"""Other processes on the files of the embedded implementations, and their sudden death."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import ReceivedMessage
from tests.contract import topology
from tests.paths import ROOT

# In real time a stalled machine must not let a lock expire.
TOPOLOGY = replace(topology.TOPOLOGY, lock_duration_s=300.0)

OPEN = """
import sys
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import Message, Write
from tests.unit.shared.embedded.support import TOPOLOGY
folder = sys.argv[1]
def store(): return SqliteRunStore(folder + "/state.db", SystemClock())
def bus(): return SqliteEventBus(folder + "/bus.db", TOPOLOGY, SystemClock())
def blobs(): return FileBlobStore(folder + "/blobs")
"""


@contextmanager
def program(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `code` on the stores in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def accepted_before_kill(folder: Path, code: str, lines: int = 150) -> list[str]:
    """Run `code`, which prints a line per accepted call for ever; SIGKILL it in the middle; its lines."""
    with program(folder, code) as process:
        assert process.stdout is not None
        accepted = [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        accepted += process.stdout.read().split("\n")[:-1]
        assert process.wait() == -signal.SIGKILL
    assert "" not in accepted
    return accepted


def open_store(folder: Path) -> SqliteRunStore:
    return SqliteRunStore(folder / "state.db", SystemClock())


def open_bus(folder: Path) -> SqliteEventBus:
    return SqliteEventBus(folder / "bus.db", TOPOLOGY, SystemClock())


def receive(bus: SqliteEventBus, wait_s: float = 0) -> list[ReceivedMessage]:
    return bus.receive("orders", max_messages=100_000, wait_s=wait_s)
