"""One emulator and one client per module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local_stack.azure_ml.config import EmulatorConfig, Environment, load_environments
from tests.azure_ml_emulator import running
from tests.unit.local_stack.azure_ml.support import ECHO, Local, client_of


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
