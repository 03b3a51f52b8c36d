"""The emulator, in this process or as one of its own."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_stack.azure_ml.fixtures import local as local
from tests.unit.local_stack.azure_ml.support import ECHO, Process


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "blobs" / "curated" / "p" / "1").mkdir(parents=True)
    (tmp_path / "blobs" / "curated" / "p" / "recipe.json").write_text("{}")
    (tmp_path / "blobs" / "models" / "champion").mkdir(parents=True)
    table = tmp_path / "environments.json"
    table.write_text(json.dumps({"echo:1": {"serve": ECHO}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    emulator = Process(tmp_path, port, ("--environments", str(table)))
    emulator.start()
    yield emulator
    emulator.client.close()
    if emulator.process is not None:
        emulator.kill(signal.SIGTERM)
