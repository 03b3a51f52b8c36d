"""The API over real embedded services in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from functions.http import api
from shared.ports import Services
from tests.fresh_process import fresh_process


@pytest.fixture
def bus_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bus.db'}"


@pytest.fixture
def services(tmp_path: Path, bus_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with fresh_process(tmp_path, monkeypatch, bus_url) as found:
        yield found


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(api, base_url="http://127.0.0.1") as http:
        yield http
