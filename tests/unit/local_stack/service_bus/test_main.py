from __future__ import annotations

import gc
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_stack.emulators import service_bus_url
from local_stack.service_bus.config import render
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.ports import Message
from tests.paths import ROOT
from tests.unit.local_stack.service_bus.support import RULE, TOPOLOGY, changed


@contextmanager
def process(folder: Path, config: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-m", "local_stack.service_bus", "--config", str(file)]
    command += ["--db", str(folder / "bus.db"), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def bus_of(running: subprocess.Popen[str]) -> Iterator[ServiceBusEventBus]:
    assert running.stdout is not None
    ready = re.fullmatch(r"ready (\d+)\n", running.stdout.readline())
    assert ready
    with closing(ServiceBusEventBus(service_bus_url(int(ready[1])), TOPOLOGY)) as bus:
        yield bus


def test_the_program_does_not_start_with_a_sql_filter(tmp_path: Path) -> None:
    config = changed(RULE, {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "1 = 1"}})
    with process(tmp_path, config) as running:
        output, errors = running.communicate(timeout=60)
    assert (running.returncode, output) == (1, "")
    assert "rule $Default: FilterType=Sql" in errors


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_what_was_accepted_and_what_was_settled_survive_kill_9(tmp_path: Path) -> None:
    # A lock longer than any restart on a busy machine: the one of the killed process must still hold.
    config = render(replace(TOPOLOGY, lock_duration_s=300.0))
    with process(tmp_path, config) as running, bus_of(running) as bus:
        for n in range(50):
            bus.send("orders", [Message(f"m{n}", "passed", b"x" * 1000)])
        bus.send("facts", [Message("fact", "approved", b"{}")])
        [done] = bus.receive("orders", max_messages=1, wait_s=60)
        bus.complete(done)
        [held] = bus.receive("orders", max_messages=1, wait_s=60)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    with process(tmp_path, config) as running, bus_of(running) as bus:
        assert [one.message.id for one in bus.peek("orders", limit=100)] == [f"m{n}" for n in range(1, 50)]
        assert [bus.depth(f"facts/{name}") for name in ("all", "two")] == [1, 1]
        [received] = bus.receive("orders", max_messages=1, wait_s=60)
        assert received.message.id == "m2"
        assert received.lock_token != held.lock_token, "the lock of the dead receiver holds"
        bus.send("orders", [Message("new", "passed", b"{}")])
        numbers = [one.sequence_number for one in bus.peek("orders", limit=100)]
        assert numbers == sorted(set(numbers))
    gc.collect()  # now, where the warning is ignored: the SDK leaves the socket of a broken connection open
