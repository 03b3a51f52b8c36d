"""The API over real embedded services in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from functions import dispatch
from functions.http import api, auth
from shared import services as composition
from shared import settings
from shared.ports import Services


@pytest.fixture
def bus_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bus.db'}"


@pytest.fixture
def services(tmp_path: Path, bus_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("RUN_STORE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.setenv("EVENT_BUS_URL", bus_url)
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
    caches = (settings.load_settings, composition.services, composition.build_event_bus, dispatch.runner)
    for cached in (*caches, auth._authenticator):
        cached.cache_clear()


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(api, base_url="http://127.0.0.1") as http:
        yield http
