"""The whole stack as processes: it starts, comes back after a crash, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local_stack.processes import is_running, marked
from local_stack.stack import Stack
from tests.paths import ROOT

SERVICES = ("run_store", "event_bus", "blobs", "azure_ml")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def run_stack(action: str, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local_stack.stack", action, "--root", str(root), *options]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=200)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "stack"
    folder.mkdir()
    yield folder
    run_stack("down", folder)
    left = marked(folder)
    shutil.rmtree(folder)
    assert left == []


def listened_at(process: psutil.Process) -> list[str]:
    """The addresses at which other programs can connect to it."""
    return [found.laddr.ip for found in process.net_connections("inet") if found.status == psutil.CONN_LISTEN]


def state(root: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((root / "stack.json").read_text())
    return body


def get(root: Path, path: str) -> Any:
    return httpx.get(f"{state(root)['api_url']}{path}", trust_env=False, timeout=30).raise_for_status().json()


def drop_rejected(root: Path) -> None:
    """A dataset that is rejected at once: a run without a job."""
    zone = root / "blobs" / "datasets" / "plant"
    zone.mkdir(parents=True)
    (zone / "train.jsonl").write_text("not json\n")


def await_end(root: Path) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = get(root, "/api/runs")["data"]
        if found and found[0]["status"] in ("rejected", "failed"):
            return dict(found[0])
        time.sleep(0.2)
    raise AssertionError(f"no run ended; host log:\n{Stack.load(root).log('host').read_text()[-4000:]}")


def test_up_down_and_a_kill_of_everything_in_between(root: Path) -> None:
    first = run_stack("up", root, "--port", "0")
    assert first.returncode == 0, first.stdout + first.stderr
    before = state(root)
    assert get(root, "/api/health")
    assert {one["name"]: one["ok"] for one in get(root, "/api/ready")["services"]} == dict.fromkeys(SERVICES, True)
    assert {address for process in marked(root) for address in listened_at(process)} == {"127.0.0.1"}

    again = run_stack("up", root)
    assert again.returncode == 0
    assert before["api_url"] in again.stdout
    assert state(root) == before, "the second up changes nothing"

    drop_rejected(root)
    run = await_end(root)
    for process in marked(root):
        process.send_signal(signal.SIGKILL)
    back = run_stack("up", root)
    assert back.returncode == 0, back.stdout + back.stderr
    after = state(root)
    assert after["api_url"] == before["api_url"]
    assert after["azure_ml_url"] == before["azure_ml_url"]
    assert get(root, f"/api/runs/{run['id']}")["status"] == run["status"]

    processes = [psutil.Process(part["pid"]) for part in after["parts"].values()]
    assert run_stack("down", root).returncode == 0
    assert not any(map(is_running, processes))
    assert state(root)["api_url"] is None
    assert run_stack("down", root).returncode == 0, "down twice is fine"


@pytest.mark.ci
def test_a_stack_on_files_is_not_started_on_emulators(root: Path) -> None:
    (root / "stack.json").write_text(json.dumps({"parts": {"host": {"port": 7071}}}))
    refused = run_stack("up", root, "--emulators")
    assert refused.returncode == 1
    assert refused.stderr == f"{root} has its state in SQLite and files; emulators need a folder of their own\n"


@pytest.mark.ci
def test_a_part_that_does_not_start_is_told_with_its_log(root: Path) -> None:
    (root / "azure_ml").write_text("a file where a folder must be")
    failed = run_stack("up", root)
    assert failed.returncode == 1
    assert "azure_ml ended with code" in failed.stderr
    assert str(root / "azure_ml") in failed.stderr, "the log's end"
