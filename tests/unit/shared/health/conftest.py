"""The app's own services on the embedded defaults, and an Azure ML that tests choose."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from local_stack.azure_ml.config import EmulatorConfig
from shared import services as composition
from shared import settings
from shared.domain.errors import InvalidInput
from tests.azure_ml_emulator import running

WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"


def forget() -> None:
    """Each process reads settings and builds services once; a test is a process of its own."""
    for cached in (settings.load_settings, composition.services, composition.build_event_bus):
        cached.cache_clear()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of state.db, bus.db and blobs/. Nothing answers as Azure ML."""
    monkeypatch.setenv("RUN_STORE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("EVENT_BUS_URL", f"sqlite:///{tmp_path}/bus.db")
    monkeypatch.setenv("BLOB_STORE_URL", f"file:{tmp_path}/blobs")
    monkeypatch.setenv("AZURE_ML_URL", f"azureml+http://127.0.0.1:1/{WORKSPACE}")
    forget()
    yield tmp_path
    if composition.services.built:
        built = composition.services()
        built.store.close()
        built.bus.close()
        with suppress(InvalidInput):  # of a wrong setting nothing was built
            built.launcher.close()  # type: ignore[attr-defined]
        built.notifier.close()  # type: ignore[attr-defined]
    forget()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorConfig]:
    root = tmp_path_factory.mktemp("azure-ml")
    with running(EmulatorConfig(root / "azure_ml", root / "blobs", 0), lambda event: None) as emulated:
        yield emulated.config


@pytest.fixture
def azure_ml(app: Path, emulator: EmulatorConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_ML_URL", f"azureml+http://127.0.0.1:{emulator.port}/{WORKSPACE}")
    monkeypatch.setenv("AZURE_ML_SECRET", emulator.secret)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, app: Path) -> Iterator[Callable[..., None]]:
    """An Azure ML that answers every request with one status and error, its clock off by some seconds."""
    servers = []

    def start(status: int, code: str, *, clock_ahead_s: float = 0.0) -> None:
        body = json.dumps({"error": {"code": code, "message": f"{code} it is"}}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_PUT = do_GET

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(datetime.now(UTC) + timedelta(seconds=clock_ahead_s), usegmt=True)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("AZURE_ML_URL", f"azureml+http://127.0.0.1:{server.server_port}/{WORKSPACE}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
