"""The emulator of Service Bus as a process (`local_stack.service_bus.__main__`), whose messages survive it."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from local_stack.emulators import URLS
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.domain.topology import TopicSubscription, Topology
from shared.ports import Message
from tests.paths import ROOT

# A lock longer than any restart on a busy machine: the one of the killed process must still hold.
TOPOLOGY = Topology(
    queues=("orders",),
    topics={"facts": (TopicSubscription("all", None), TopicSubscription("two", frozenset({"passed", "approved"})))},
    lock_duration_s=300.0,
    max_delivery_count=3,
)
PROGRAM = """
import asyncio, sys
from pathlib import Path
from local_stack.service_bus.__main__ import serve
from tests.unit.local_stack.service_bus.test_main import TOPOLOGY
asyncio.run(serve(TOPOLOGY, Path(sys.argv[1])))
"""


@contextmanager
def process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(folder / "bus.db")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def bus_of(running: subprocess.Popen[str]) -> Iterator[ServiceBusEventBus]:
    assert running.stdout is not None
    ready = re.fullmatch(r"ready (\d+)\n", running.stdout.readline())
    assert ready
    with closing(ServiceBusEventBus(URLS["servicebus"].format(ready[1]), TOPOLOGY)) as bus:
        yield bus


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_what_was_accepted_and_what_was_settled_survive_kill_9(tmp_path: Path) -> None:
    with process(tmp_path) as running, bus_of(running) as bus:
        for n in range(50):
            bus.send("orders", [Message(f"m{n}", "passed", b"x" * 1000)])
        bus.send("facts", [Message("fact", "approved", b"{}")])
        [done] = bus.receive("orders", max_messages=1, wait_s=60)
        bus.complete(done)
        [held] = bus.receive("orders", max_messages=1, wait_s=60)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    with process(tmp_path) as running, bus_of(running) as bus:
        assert [one.message.id for one in bus.peek("orders", limit=100)] == [f"m{n}" for n in range(1, 50)]
        assert [bus.depth(f"facts/{name}") for name in ("all", "two")] == [1, 1]
        [received] = bus.receive("orders", max_messages=1, wait_s=60)
        assert received.message.id == "m2"
        assert received.lock_token != held.lock_token, "the lock of the dead receiver holds"
        bus.send("orders", [Message("new", "passed", b"{}")])
        numbers = [one.sequence_number for one in bus.peek("orders", limit=100)]
        assert numbers == sorted(set(numbers))
    gc.collect()  # now, where the warning is ignored: the SDK leaves the socket of a broken connection open


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_process_that_is_told_to_stop_ends_in_order(tmp_path: Path) -> None:
    with process(tmp_path) as running, bus_of(running) as bus:
        bus.send("orders", [Message("m1", "passed", b"{}")])
        running.terminate()
        assert running.wait(timeout=60) == 0
    gc.collect()
