"""A headless Chromium before the real app, over embedded services and the emulator in a temporary folder."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from functions.http import create_api
from functions.http.auth import Authenticator, LoopbackAuth
from local_stack.azure_ml.app import AzureMlEmulator, listen
from local_stack.azure_ml.config import EmulatorConfig, load_environments
from local_stack.azure_ml.jobs import call_mlflow
from shared import services as composition
from shared import settings
from shared.domain.run import Run
from shared.ports import Services
from tests.azure_ml_emulator import running
from tests.browser import sample_runs
from tests.unit.functions.http.support import JobCurves

T = TypeVar("T")
IGNORED = (StaleElementReferenceException, NoSuchElementException)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/browser/") and (CHROMIUM is None or DRIVER is None):
            item.add_marker(pytest.mark.skip(reason="needs chromium and chromedriver (Debian: chromium-driver)"))


class Server:
    """The app on one port; it can go away and come back. A test may change who is let in."""

    def __init__(self, services: Services) -> None:
        self.port = 0
        self.authenticator: Authenticator = LoopbackAuth()
        self._api = create_api(lambda: services, lambda: self.authenticator)
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listener: socket.socket = listen(self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._api, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._listener = listener
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(60)
            self._listener.close()
            self._server = None


@dataclass
class Stack:
    server: Server
    services: Services
    emulator: AzureMlEmulator
    curves: JobCurves

    def log_curve(self, run: Run, points: list[dict[str, Any]]) -> None:
        """As the trainer does: a batch to MLflow under the job's name."""
        name = run.jobs[0].name
        if self.emulator.store.get("job", name) is None:
            self.emulator.store.put("job", name, {"name": name, "status": "Completed", "history": [], "properties": {}})
        call_mlflow(self.emulator.store, "POST", "runs/log-batch", {"run_id": name, "metrics": points})


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMlEmulator]:
    root = tmp_path_factory.mktemp("azure-ml")
    (root / "blobs").mkdir()
    config = EmulatorConfig(root / "azure_ml", root / "blobs", 0, tick_s=0.2, environments=load_environments(None))
    with running(config, lambda _: None) as emulator:
        yield emulator


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: AzureMlEmulator) -> Iterator[Stack]:
    monkeypatch.setenv("RUN_STORE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.setenv("EVENT_BUS_URL", f"sqlite:///{tmp_path / 'bus.db'}")
    monkeypatch.setenv("BLOB_STORE_URL", f"file:{tmp_path / 'blobs'}")
    monkeypatch.setenv("AZURE_ML_URL", f"azureml+{emulator.config.url}/{WORKSPACE}")
    monkeypatch.setenv("AZURE_ML_SECRET", emulator.config.secret)
    _forget()
    curves, found = JobCurves(), composition.services()
    curves.platform = found.launcher
    found = replace(found, launcher=curves)
    server = Server(found)
    server.start()
    yield Stack(server, found, emulator, curves)
    server.stop()
    found.store.close()
    found.bus.close()
    found.notifier.close()  # type: ignore[attr-defined]
    found.launcher.close()  # type: ignore[attr-defined]
    _forget()


def _forget() -> None:
    """Each process reads settings and builds services once; a test is a process of its own."""
    for cached in (settings.load_settings, composition.services, composition.build_event_bus):
        cached.cache_clear()


class Browser:
    """One tab, with the waits every test needs."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # a change of the hash alone would not load anything
        self.driver.get(url)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """The visible element, once there is one."""
        return self.until(lambda: next((each for each in self.all(css) if each.is_displayed()), None), css)

    def text(self, css: str) -> str:
        return self.one(css).text

    def shows(self, css: str, words: str) -> None:
        self.until(lambda: words in " ".join(each.text for each in self.all(css)), f"{words!r} in {css}")

    def until(self, condition: Callable[[], T | None], what: str = "") -> T:
        wait = WebDriverWait(self.driver, 60, 0.05, ignored_exceptions=IGNORED)
        return wait.until(lambda _: condition() or False, f"never: {what}")

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def _log(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.driver.get_log(kind)
        return found

    def console_messages(self) -> list[str]:
        """What the page wrote to its console since the last call: errors, refused content, failed requests."""
        return [entry["message"] for entry in self._log("browser")]

    def requests(self) -> list[str]:
        """Every address asked for since the last call."""
        entries = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [each["params"]["request"]["url"] for each in entries if each["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome, stack: Stack) -> Iterator[Browser]:
    driver.set_window_size(1280, 1000)
    found = Browser(driver)
    found.console_messages()
    found.requests()
    yield found
    driver.get("about:blank")


@pytest.fixture
def claims(stack: Stack) -> Run:
    """A deployed run with its curve, samples and report."""
    run = sample_runs.write(stack.services, sample_runs.deployed(0xC1A1))
    sample_runs.write_samples(stack.services, run)
    sample_runs.write_report(
        stack.services, run, sample_runs.REPORT.model_copy(update={"passed": True, "problems": ()})
    )
    stack.log_curve(run, sample_runs.curve(450))
    return run
