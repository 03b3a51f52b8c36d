"""Real embedded services in a temporary folder, for what the app logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions import dispatch
from shared import services as composition
from shared import settings
from shared.ports import Services


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("RUN_STORE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.setenv("EVENT_BUS_URL", f"sqlite:///{tmp_path / 'bus.db'}")
    monkeypatch.setenv("BLOB_STORE_URL", f"file:{tmp_path / 'blobs'}")
    _forget()
    found = composition.services()
    yield found
    found.store.close()
    found.bus.close()
    found.notifier.close()  # type: ignore[attr-defined]
    _forget()


def _forget() -> None:
    """Each process reads settings and builds services once; a test is a process of its own."""
    for cached in (settings.load_settings, composition.services, composition.build_event_bus, dispatch.runner):
        cached.cache_clear()
