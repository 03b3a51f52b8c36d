"""The API over real embedded services in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from shared.ports import Services
from shared.services import build_services
from shared.settings import Settings
from tests.unit.functions.http.support import JobCurves, SettableClock


@pytest.fixture
def bus_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bus.db'}"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def curves() -> JobCurves:
    return JobCurves()


@pytest.fixture
def settings(tmp_path: Path, bus_url: str) -> Settings:
    return Settings(
        run_store_url=f"sqlite:///{tmp_path / 'state.db'}",
        event_bus_url=bus_url,
        blob_store_url=f"file:{tmp_path / 'blobs'}",
    )


@pytest.fixture
def services(settings: Settings, clock: SettableClock, curves: JobCurves, impatient: None) -> Iterator[Services]:
    built = build_services(settings)
    curves.platform = built.launcher
    yield replace(built, clock=clock, launcher=curves)
    built.store.close()
    built.bus.close()
    built.notifier.close()  # type: ignore[attr-defined]
    built.launcher.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def api() -> FastAPI:
    """One for all tests: what it makes of its routes with the first requests takes 40 ms of each."""
    return create_api(lambda: pytest.fail("no test has given its services"), LoopbackAuth)


@pytest.fixture
def client(services: Services, api: FastAPI) -> Iterator[TestClient]:
    api.state.services, api.state.authenticator = lambda: services, LoopbackAuth
    with TestClient(api, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as http:
        yield http
