"""The filters of docs/how-to/subscribe-on-the-topic.md, on an event of each type of the catalog."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.api.event_catalog import example, schemas
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.domain.events import EVENT_TYPES
from shared.domain.topology import TOPIC, TopicSubscription, Topology
from shared.ports import Message
from tests.clock import ManualClock
from tests.paths import ROOT
from tests.service_bus_emulator import running

PAGE = (ROOT / "docs/how-to/subscribe-on-the-topic.md").read_text(encoding="utf-8")
EVENTS: list[dict[str, Any]] = [example(schemas()[cls.wire_type]) for cls in EVENT_TYPES.values()]
TYPES = {event["type"] for event in EVENTS}


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_correlation_filter_lets_its_events_through_on_the_emulator(tmp_path: Path) -> None:
    rule = json.loads(block("json correlation"))
    assert rule["filterType"] == "CorrelationFilter"
    [(name, label)] = rule["correlationFilter"].items()
    assert name == "label", "the only property that the emulator filters on"
    topology = Topology((), {TOPIC: (TopicSubscription("erp", frozenset({label})),)})
    clock = ManualClock(datetime.now(UTC) + timedelta(days=1))
    with (
        running(topology, tmp_path / "bus.db", clock) as emulator,
        closing(ServiceBusEventBus(emulator.url, topology)) as bus,
    ):
        bus.send(TOPIC, [Message(f"m-{one['type']}", one["type"], json.dumps(one).encode()) for one in EVENTS])
        found = bus.peek(f"{TOPIC}/erp", limit=100)
    assert [json.loads(one.message.body)["type"] for one in found] == ["droptune.model.promoted.v1"]


def test_the_sql_filter_lets_its_events_through() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA case_sensitive_like = ON")
        database.execute("CREATE TABLE message (label TEXT)")
        database.executemany("INSERT INTO message VALUES (?)", [(one,) for one in TYPES])
        query = f"SELECT label FROM message WHERE {block('sql').replace('sys.Label', 'label')}"
        found = {label for (label,) in database.execute(query)}
    assert found == {one for one in TYPES if one.startswith("droptune.model.")} | {"droptune.run.failed.v1"}
    assert len(found) > 2


def passes(event: dict[str, Any], subscription: dict[str, Any]) -> bool:
    """Microsoft Learn, "Understand event filtering for Event Grid subscriptions": all filters hold; strings are
    compared without case; a key that is not there fails the operators but those with Not."""

    def holds(one: dict[str, Any]) -> bool:
        value: Any = event
        for part in one["key"].split("."):
            value = value.get(part) if isinstance(value, dict) else None
        is_in = isinstance(value, str) and value.lower() in [each.lower() for each in one["values"]]
        return {"StringIn": is_in, "StringNotIn": not is_in}[one["operatorType"]]

    return event["type"] in subscription["includedEventTypes"] and all(map(holds, subscription["advancedFilters"]))


def test_the_filter_of_event_grid_lets_its_events_through() -> None:
    subscription = json.loads(block("json advanced"))
    expected = set(subscription["includedEventTypes"])
    assert expected <= TYPES
    mine = [{**one, "source": "/projects/machine-errors"} for one in EVENTS]
    assert {one["type"] for one in mine if passes(one, subscription)} == expected
    assert [one for one in EVENTS if passes({**one, "source": "/projects/other"}, subscription)] == []
    tests = [{**one, "data": {**one["data"], "endpoint": "Machine-Errors-Test"}} for one in mine]
    assert [one for one in tests if passes(one, subscription)] == []


def test_the_condition_of_logic_apps_names_a_type() -> None:
    found = re.fullmatch(r"@equals\(triggerBody\(\)\?\['Label'\], '(.+)'\)", block("text").strip())
    assert found is not None
    assert found[1] in TYPES


def test_the_filter_of_a_consumer_lets_its_events_through() -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    mine = [{**one, "source": "/projects/machine-errors"} for one in EVENTS]
    found = {one["type"] for one in mine if names["expected"](one)}
    assert found == {one for one in TYPES if one.startswith("droptune.model.")}
    assert not [one for one in EVENTS if names["expected"]({**one, "source": "/projects/other"})]


@pytest.mark.parametrize("type", re.findall(r"droptune\.[a-z_.]+\.v1", PAGE))
def test_every_type_on_the_page_is_one_of_the_catalog(type: str) -> None:
    assert type in TYPES
