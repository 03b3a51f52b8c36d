"""What the local stack takes: memory, idle processor time, start, and from a dropped file to the first status."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import psutil

from benchmarks.measure import MB, REPOSITORY, Figure
from local_stack.processes import marked
from shared.tls import tls_context

SETTLE_S, IDLE_S, DROPS = 10.0, 10.0, 5
WITHIN_S = 60.0


def run(settle_s: float = SETTLE_S, idle_s: float = IDLE_S, drops: int = DROPS) -> list[Figure]:
    """The stack is two processes, the functions host and the Azure ML emulator. No product offers the same."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        started = time.monotonic()
        with running(root):
            start_s = time.monotonic() - started
            time.sleep(settle_s)  # the host imports the Azure ML SDK once it is ready
            memory_mb, idle = _memory_mb(root), busy_percent(marked(root), idle_s)
            waits_s = [_drop(root, f"bench-{number}") for number in range(drops)]
    return [
        Figure("stack, from the command to ready", start_s, "s", "lower", note="base model not built, an empty folder"),
        Figure(
            "stack, idle memory, host and emulator", memory_mb, "MB", "lower", note="sum of RSS, shared pages twice"
        ),
        Figure(f"stack, idle for {idle_s:g} s, of one core", idle, "%", "lower"),
        Figure(
            f"drop to status received, median of {drops}",
            statistics.median(waits_s),
            "s",
            "lower",
            note="of it 1 s in which a file must not change",
        ),
        Figure(f"drop to status received, slowest of {drops}", max(waits_s), "s", "lower"),
    ]


@contextmanager
def running(root: Path) -> Iterator[None]:
    try:
        _command("up", root, "--port", "0")
        yield
    finally:
        _command("down", root)


def _command(action: str, root: Path, *options: str) -> None:
    command = [sys.executable, "-m", "local_stack.stack", action, "--root", str(root), *options]
    ended = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True)
    if ended.returncode:
        raise RuntimeError(ended.stdout + ended.stderr)


def _memory_mb(root: Path) -> float:
    return float(sum(process.memory_info().rss for process in marked(root))) / MB


def busy_percent(processes: list[psutil.Process], seconds: float) -> float:
    """Processor time of some seconds, of one core."""
    before, started = _processor_s(processes), time.monotonic()
    time.sleep(seconds)
    return 100 * (_processor_s(processes) - before) / (time.monotonic() - started)


def _processor_s(processes: list[psutil.Process]) -> float:
    return float(sum(times.user + times.system for times in (process.cpu_times() for process in processes)))


def _drop(root: Path, project: str) -> float:
    """Seconds from a broken dataset's appearance to the run's first line of history, both by this clock."""
    zone = root / "blobs" / "datasets" / project
    zone.mkdir(parents=True)
    (zone / "train.jsonl").write_text("not json\n")
    dropped_at, until = time.time(), time.monotonic() + WITHIN_S
    url = json.loads((root / "stack.json").read_text())["api_url"]
    while time.monotonic() < until:
        found = _get(f"{url}/api/runs?project={project}")["data"]
        if found:
            first = _get(f"{url}/api/runs/{found[0]['id']}")["history"][0]
            assert first["status"] == "received", first
            return datetime.fromisoformat(first["at"]).timestamp() - dropped_at
        time.sleep(0.2)
    raise RuntimeError(f"no run within {WITHIN_S:.0f} s of a drop")


def _get(url: str) -> dict[str, list[dict[str, str]]]:
    got = httpx.get(url, verify=tls_context(), timeout=30, trust_env=False)
    answer: dict[str, list[dict[str, str]]] = got.raise_for_status().json()
    return answer
