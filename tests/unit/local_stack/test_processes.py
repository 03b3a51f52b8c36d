from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack.processes import MARK, StackProcess, free_port, is_running, marked, stop

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN);" + SLEEP[2]]


@pytest.fixture
def child(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[psutil.Process]:
    environment = {**os.environ, MARK: str(tmp_path)}
    with subprocess.Popen(request.param, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.kill()


@pytest.mark.parametrize("child", [SLEEP], indirect=True)
def test_a_pid_that_now_belongs_to_another_process_is_not_ours(child: psutil.Process) -> None:
    started_at = child.create_time()
    assert StackProcess(1, child.pid, started_at).process() == child
    assert StackProcess(1, child.pid, started_at - 60).process() is None
    assert StackProcess(1, None).process() is None


@pytest.mark.parametrize("child", [SLEEP, STUBBORN], indirect=True)
def test_a_process_is_found_by_its_mark_and_stopped_even_if_it_ignores_sigterm(
    child: psutil.Process, tmp_path: Path
) -> None:
    assert marked(tmp_path) == [child]
    assert marked(tmp_path / "another") == []
    stop([child], within_s=0.5)
    assert not is_running(child)
    assert marked(tmp_path) == []


def test_a_port_in_use_is_left_to_its_owner() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        taken = owner.getsockname()[1]
        assert free_port(taken) != taken
    until = time.monotonic() + 60
    while free_port(taken) != taken and time.monotonic() < until:
        time.sleep(0.05)
    assert free_port(taken) == taken
