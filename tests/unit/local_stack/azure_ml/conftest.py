"""One emulator and one client per module: the SDK's import alone takes two seconds."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from local_stack.azure_ml.app import running
from local_stack.azure_ml.config import EmulatorConfig, Environment, load_environments
from tests.unit.local_stack.azure_ml.support import ECHO, Local, Process, client_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/unit/local_stack/azure_ml/"):
            # The SDK builds schemas in a way that marshmallow 4 will no longer have.
            item.add_marker(pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"))


@pytest.fixture(scope="session", autouse=True)
def _sdk_is_imported(azure_ml_sdk: ModuleType) -> None:
    """Its import warns, so that no test may be the first."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    root = tmp_path_factory.mktemp("azure-ml")
    blobs = root / "blobs"
    for model in ("champion", "candidate"):
        (blobs / "models" / model).mkdir(parents=True)
    (blobs / "curated" / "p" / "1").mkdir(parents=True)
    (blobs / "curated" / "p" / "1" / "train.jsonl").write_text("{}\n")
    (blobs / "curated" / "p" / "recipe.json").write_text('{"a": 1}')
    environments = {**load_environments(None), "echo:1": Environment(serve=ECHO)}
    config = EmulatorConfig(
        root / "azure_ml", blobs, 0, slots=2, tick_s=0.02, stop_grace_s=0.5, environments=environments
    )
    events: list[dict[str, Any]] = []
    refusals: list[Exception] = []

    def emit(event: dict[str, Any]) -> None:
        if refusals:
            raise refusals.pop()
        events.append(event)

    with running(config, emit) as emulator:
        client = client_of(emulator.config.port, emulator.config.secret)
        yield Local(emulator, client, blobs, events, refusals)
        client.close()


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
