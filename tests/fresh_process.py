"""The app's services as a process of its own would build them: over real embedded ports in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared import services as composition
from shared import settings
from shared.ports import Services


@contextmanager
def fresh_process(folder: Path, monkeypatch: pytest.MonkeyPatch, bus_url: str | None = None) -> Iterator[Services]:
    monkeypatch.setenv("RUN_STORE_URL", f"sqlite:///{folder / 'state.db'}")
    monkeypatch.setenv("EVENT_BUS_URL", bus_url or f"sqlite:///{folder / 'bus.db'}")
    monkeypatch.setenv("BLOB_STORE_URL", f"file:{folder / 'blobs'}")
    _forget()
    found = composition.services()
    yield found
    found.store.close()
    found.bus.close()
    found.notifier.close()  # type: ignore[attr-defined]
    _forget()


def _forget() -> None:
    """Each process reads settings and builds services once; a test is a process of its own."""
    for cached in (settings.load_settings, composition.services, composition.build_event_bus):
        cached.cache_clear()
