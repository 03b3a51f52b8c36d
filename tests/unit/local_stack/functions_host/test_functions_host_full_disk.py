"""A host whose disk is full: while it receives, renews, settles, logs, says that it is ready, and when it starts.

The disk is that of the host's process alone: with a limit of 0 on the size of files (`RLIMIT_FSIZE`) every write to a
file fails, as on a full disk, and nothing else of the machine is touched. Its output goes to a pipe, or to `/dev/full`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from local_stack.processes import free_port
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.pipeline import TOPOLOGY
from shared.ports.bus import DEAD_LETTERS
from tests.paths import ROOT
from tests.unit.local_stack.functions_host.support import eventually, host_json, message

QUEUE = "storage-events"
APP = """
import time
from pathlib import Path
import azure.functions as func

async def page(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in ("startup", "shutdown"):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

app = func.AsgiFunctionApp(app=page, http_auth_level=func.AuthLevel.ANONYMOUS)

@app.service_bus_queue_trigger(arg_name="msg", queue_name="storage-events", connection="C")
def take(msg: func.ServiceBusMessage) -> None:
    Path("begun-" + msg.message_id).touch()  # an empty file takes no room
    while not Path("end-" + msg.message_id).exists():
        time.sleep(0.02)

@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def tick(timer: func.TimerRequest) -> None:
    Path("ticked").touch()
"""


@contextmanager
def host_process(
    folder: Path, port: int, output: int | IO[bytes], **options: object
) -> Iterator[subprocess.Popen[str]]:
    (folder / "full_disk_app.py").write_text(APP)
    host_json(folder)
    command = [sys.executable, "-m", "local_stack.host", "--port", str(port), "--app", "full_disk_app", "--watch"]
    environment = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "PYTHONUNBUFFERED": "1",
        "EVENT_BUS_URL": f"sqlite:///{folder / 'bus.db'}?lock_s=10",
    }
    process = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=folder, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, text=True, **options
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SqliteEventBus]:
    with closing(SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, SystemClock())) as bus:
        yield bus


@contextmanager
def full_disk(process: subprocess.Popen[str]) -> Iterator[None]:
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} is not in\n{''.join(seen)}")


def serves(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=60, verify=False, trust_env=False).text == "served"
    except httpx.ConnectError:
        return False


@pytest.mark.slow
def test_a_message_is_handled_although_the_disk_is_full_when_it_comes_while_it_is_handled_or_when_that_ends(
    bus: SqliteEventBus, tmp_path: Path
) -> None:
    with host_process(tmp_path, 0, subprocess.PIPE) as process:
        wait_for_line(process, "ready")
        with full_disk(process):
            bus.send(QUEUE, [message("received")])
            wait_for_line(process, f"cannot receive from {QUEUE}")
        eventually((tmp_path / "begun-received").exists)
        with full_disk(process):
            wait_for_line(process, "the lock of message received was not renewed")
        with full_disk(process):
            (tmp_path / "end-received").touch()
            wait_for_line(process, "message received was not settled")
        eventually(lambda: bus.depth(QUEUE) == 0)
        assert bus.depth(QUEUE + DEAD_LETTERS) == 0
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == 0


@pytest.mark.ci
def test_a_host_that_cannot_write_a_line_serves_http_messages_and_timers(bus: SqliteEventBus, tmp_path: Path) -> None:
    port = free_port(None)
    bus.send(QUEUE, [message("first")])
    (tmp_path / "end-first").touch()
    with Path("/dev/full").open("wb", buffering=0) as full, host_process(tmp_path, port, full) as process:
        eventually(lambda: process.poll() is not None or ((tmp_path / "ticked").exists() and serves(port)))
        eventually(lambda: process.poll() is not None or bus.depth(QUEUE) == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.slow
def test_a_host_that_cannot_create_its_files_says_so_and_ends(tmp_path: Path) -> None:
    limit = (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    with host_process(
        tmp_path, 0, subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 1
    assert "The host does not start:\ndatabase_unavailable: bus.db: " in output
    assert "Traceback" not in output
