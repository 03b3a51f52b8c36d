from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from local_stack.service_bus.config import Unsupported, milliseconds, read, render
from shared.pipeline import STAGES, TOPIC
from shared.pipeline import TOPOLOGY as PIPELINE
from tests.unit.local_stack.service_bus.support import RULE, TOPOLOGY, changed


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


@pytest.mark.parametrize(("text", "expected"), [("PT1M", 60_000), ("PT0.6S", 600), ("P1DT2H", 93_600_000)])
def test_durations_are_those_of_iso_8601(text: str, expected: int) -> None:
    assert milliseconds(text) == expected
    with pytest.raises(ValueError, match="1 minute"):
        milliseconds("1 minute")
