"""What the tests of this folder share beside fixtures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx

from local_stack.azure_ml.app import AzureMlEmulator
from local_stack.azure_ml.published import resource_of
from local_stack.azure_ml.tokens import load_secret
from shared.clients.azure_ml.client import AzureMLClient
from shared.domain.jobs import DeploymentSpec, JobSpec, JobStatus, JobView
from shared.domain.recipe import Tier
from tests.paths import ROOT
from tests.published_types import AZURE_ML

WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"
ARM_WORKSPACE = "/subscriptions/local/resourceGroups/local/providers/Microsoft.MachineLearningServices/workspaces/local"
ECHO = ("{python}", str(Path(__file__).with_name("echo_server.py")), "{model}", "{port}")


def client_of(port: int, secret: str, **options: Any) -> AzureMLClient:
    return AzureMLClient(f"azureml+http://127.0.0.1:{port}/{WORKSPACE}", emulator_secret=secret, **options)


@dataclass
class Local:
    """An emulator in this process, its client, and the events it emitted. Each of `refusals` makes one sending fail."""

    emulator: AzureMlEmulator
    client: AzureMLClient
    blobs: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.emulator.config.url

    @property
    def token(self) -> dict[str, str]:
        """Headers of a caller that holds the emulator's secret."""
        return {"Authorization": f"Bearer {self.emulator.config.secret}"}

    def arm(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A raw call below the workspace."""
        url, kind = f"{self.url}{ARM_WORKSPACE}/{path}", resource_of(f"{ARM_WORKSPACE}/{path}")[0]
        version = max(
            (one.partition("@")[2] for one in AZURE_ML if one.startswith(f"{kind}@")), default="2024-01-01-preview"
        )
        return httpx.request(method, url, params={"api-version": version}, json=body, headers=self.token, verify=False)

    def another_client(self, **options: Any) -> AzureMLClient:
        return client_of(self.emulator.config.port, self.emulator.config.secret, **options)

    def finish(self, name: str) -> JobView:
        return finished(self.client, name)


def job(name: str, command: str, **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "name": name,
        "command": command,
        "environment": "droptune-training:6",
        "inputs": {
            "data": "azureml://datastores/curated/paths/p/1/",
            "recipe": "azureml://datastores/curated/paths/p/recipe.json",
        },
        "outputs": {"model": f"azureml://datastores/runs/paths/{name}/model/"},
        "instance_type": "Standard_NC24ads_A100_v4",
        "tier": Tier.SPOT,
        "timeout_s": 600,
        "tags": {"project": "p"},
    }
    return JobSpec(**{**fields, **changes})


def deployment(endpoint: str, name: str, model: str, **changes: Any) -> DeploymentSpec:
    fields: dict[str, Any] = {
        "endpoint": endpoint,
        "name": name,
        "model": model,
        "weights_bytes": 1_000_000,
        "environment": "echo:1",
        "instance_type": "Standard_NC24ads_A100_v4",
    }
    return DeploymentSpec(**{**fields, **changes})


T = TypeVar("T")


def eventually(check: Callable[[], T], *, within_s: float = 60.0) -> T:
    """The first truthy answer; asked for less often the longer it takes, for each look costs a request."""
    since = time.monotonic()
    while not (found := check()):
        waited = time.monotonic() - since
        assert waited < within_s, "it did not happen in time"
        time.sleep(min(0.5, max(0.02, waited / 10)))
    return found


def finished(client: AzureMLClient, name: str) -> JobView:
    def final() -> JobView | None:
        view = client.get_job(name)
        assert view is not None
        return view if view.status.final else None

    view = eventually(final)
    assert view is not None
    return view


def started(client: AzureMLClient, name: str) -> None:
    def runs() -> bool:
        view = client.get_job(name)
        return view is not None and view.status is JobStatus.RUNNING

    eventually(runs)


@dataclass
class Process:
    """The emulator as a program of its own, which can be killed and started again on the same port."""

    root: Path
    port: int
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "local_stack.azure_ml", "--root", str(self.root / "azure_ml")]
        command += ["--blob-root", str(self.root / "blobs"), "--port", str(self.port), *self.arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"ready {self.port}\n"

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    @cached_property
    def client(self) -> AzureMLClient:
        return client_of(self.port, self.secret)

    @property
    def secret(self) -> str:
        return load_secret(self.root / "azure_ml")

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(
            f"http://127.0.0.1:{self.port}/_emulator/jobs",
            headers={"Authorization": f"Bearer {self.secret}"},
            verify=False,
        ).json()["jobs"]
        return found


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
