"""What the contract of the bus does not reach of the emulator: its configuration file, its death."""

from __future__ import annotations

import gc
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_stack.emulators import service_bus_url
from local_stack.service_bus.config import Unsupported, milliseconds, read, render
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.domain.topology import Subscription, Topology
from shared.pipeline import STAGES, TOPIC
from shared.pipeline import TOPOLOGY as PIPELINE
from shared.ports import Message
from tests.paths import ROOT

TOPOLOGY = Topology(
    queues=("orders",),
    topics={"facts": (Subscription("all", None), Subscription("two", frozenset({"passed", "approved"})))},
    lock_duration_s=5.0,
    max_delivery_count=3,
)


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


def test_the_file_of_a_topology_is_as_microsoft_has_it() -> None:
    [namespace] = render(TOPOLOGY)["UserConfig"]["Namespaces"]
    properties = {"LockDuration": "PT5S", "MaxDeliveryCount": 3, "RequiresSession": False}
    assert namespace["Queues"] == [{"Name": "orders", "Properties": properties}]
    [topic] = namespace["Topics"]
    everything, two = topic["Subscriptions"]
    assert topic["Name"] == "facts"
    assert everything == {"Name": "all", "Properties": properties}
    assert two["Rules"] == [
        {
            "Name": name,
            "Properties": {"FilterType": "Correlation", "CorrelationFilter": {"Label": subject}},
        }
        for name, subject in (("$Default", "approved"), ("passed", "passed"))
    ]


def test_the_file_of_the_product_has_a_rule_for_each_waking_event() -> None:
    queues, [topic] = read(render(PIPELINE))
    assert {queue.path for queue in queues} == set(PIPELINE.queues)
    assert {(queue.lock_ms, queue.max_delivery_count) for queue in queues} == {(60_000, 10)}
    rules = {queue.path: rules for queue, rules in topic.subscriptions}
    for stage in STAGES:
        if stage.wakes and stage.name != "notify":
            wanted = [{"Label": event.wire_type} for event in stage.wakes]
            assert sorted(rules[f"{TOPIC}/Subscriptions/{stage.name}"], key=str) == sorted(wanted, key=str)
    assert rules[f"{TOPIC}/Subscriptions/notify"] == (None,)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The file of TOPOLOGY with one value set at a path of keys and numbers."""
    document = render(TOPOLOGY)
    *way, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = document["UserConfig"]["Namespaces"][0]
    for key in way:
        place = place[key]
    place[last] = value
    return document


RULE = "Topics/0/Subscriptions/1/Rules/0/Properties"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (RULE, {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "1 = 1"}}, "FilterType=Sql"),
        (RULE + "/Action", {"SqlExpression": "SET a = 1"}, "actions are not emulated"),
        (RULE + "/CorrelationFilter", {"Subject": "passed"}, "a correlation filter has no Subject"),
        ("Queues/0/Properties/RequiresSession", True, "orders: RequiresSession=True"),
        ("Queues/0/Properties/DefaultMessageTimeToLive", "PT1H", "orders: DefaultMessageTimeToLive='PT1H'"),
        ("Topics/0/Properties", {"RequiresDuplicateDetection": True}, "facts: RequiresDuplicateDetection=True"),
    ],
)
def test_what_is_not_emulated_is_refused_by_name(path: str, value: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=re.escape(named)):
        read(changed(path, value))


def test_the_program_does_not_start_with_a_sql_filter(tmp_path: Path) -> None:
    config = changed(RULE, {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "1 = 1"}})
    with process(tmp_path, config) as running:
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, output) == (1, "")
    assert "rule $Default: FilterType=Sql" in errors


@pytest.mark.parametrize(("text", "expected"), [("PT1M", 60_000), ("PT0.6S", 600), ("P1DT2H", 93_600_000)])
def test_durations_are_those_of_iso_8601(text: str, expected: int) -> None:
    assert milliseconds(text) == expected
    with pytest.raises(ValueError, match="1 minute"):
        milliseconds("1 minute")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_what_was_accepted_and_what_was_settled_survive_kill_9(tmp_path: Path) -> None:
    config = render(TOPOLOGY)
    with process(tmp_path, config) as running, bus_of(running) as bus:
        for n in range(50):
            bus.send("orders", [Message(f"m{n}", "passed", b"x" * 1000)])
        bus.send("facts", [Message("fact", "approved", b"{}")])
        [done] = bus.receive("orders", max_messages=1, wait_s=5)
        bus.complete(done)
        [held] = bus.receive("orders", max_messages=1, wait_s=5)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    with process(tmp_path, config) as running, bus_of(running) as bus:
        assert [one.message.id for one in bus.peek("orders", limit=100)] == [f"m{n}" for n in range(1, 50)]
        assert [bus.depth(f"facts/{name}") for name in ("all", "two")] == [1, 1]
        [received] = bus.receive("orders", max_messages=1, wait_s=5)
        assert received.message.id == "m2"
        assert received.lock_token != held.lock_token, "the lock of the dead receiver holds"
        bus.send("orders", [Message("new", "passed", b"{}")])
        numbers = [one.sequence_number for one in bus.peek("orders", limit=100)]
        assert numbers == sorted(set(numbers))
    gc.collect()  # now, where the warning is ignored: the SDK leaves the socket of a broken connection open
