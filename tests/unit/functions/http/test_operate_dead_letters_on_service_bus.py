"""`/api/dead-letters` by the real SDK, on all entities of the product."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from functions.dispatch import REPLAYED
from shared.embedded.clock import SystemClock
from shared.pipeline import TOPOLOGY
from shared.ports import DEAD_LETTERS, EventBus, Message, Services
from tests.service_bus_emulator import running

QUEUE = "job-events"
SUBSCRIPTION = "pipeline/record_decision"
SUBJECT = "droptune.approval.granted.v1"


@pytest.fixture
def bus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(TOPOLOGY, tmp_path_factory.mktemp("service-bus") / "bus.db", SystemClock()) as emulator:
        yield emulator.url


def received(bus: EventBus, entity: str) -> list[str]:
    """Ids of what waits at an entity, taken away."""
    found = []
    while batch := bus.receive(entity, max_messages=100, wait_s=0.2):
        for one in batch:
            found.append(one.message.id)
            bus.complete(one)
    return found


def test_dead_letters_are_listed_and_sent_again(client: TestClient, services: Services) -> None:
    bus = services.bus
    assert client.get("/api/dead-letters").json() == {"data": [], "unreadable": []}

    bus.send("pipeline", [Message("granted", SUBJECT, b"{}", {"runid": "r1"})])
    for _ in range(TOPOLOGY.max_delivery_count):
        [one] = bus.receive(SUBSCRIPTION, max_messages=1, wait_s=60)
        bus.abandon(one)
    bus.send(QUEUE, [Message(f"m{n:02}", "Polled", b"{}") for n in range(25)])
    for _ in range(25 * TOPOLOGY.max_delivery_count):
        [one] = bus.receive(QUEUE, max_messages=1, wait_s=60)
        bus.abandon(one)

    for _ in range(2):  # looking changes nothing
        jobs, decision = sorted(client.get("/api/dead-letters").json()["data"], key=lambda found: found["entity"])
        assert (jobs["entity"], jobs["count"]) == (QUEUE, 25)
        assert [one["id"] for one in jobs["messages"]] == [f"m{n:02}" for n in range(20)]
        assert jobs["messages"][0]["reason"] == "MaxDeliveryCountExceeded"
        [shown] = decision["messages"]
        assert (decision["entity"], decision["count"], shown["id"]) == (SUBSCRIPTION, 1, "granted")
        assert (shown["reason"], shown["delivery_count"]) == ("MaxDeliveryCountExceeded", 10)

    order = {"entity": QUEUE, "message_id": "m23"}
    assert client.post("/api/dead-letters/replay", json=order).json() == {"entity": QUEUE, "replayed": 1}
    assert received(bus, QUEUE) == ["m23"]
    order = {"entity": QUEUE}
    assert client.post("/api/dead-letters/replay", json=order).json() == {"entity": QUEUE, "replayed": 24}
    assert received(bus, QUEUE) == [f"m{n:02}" for n in range(25) if n != 23]

    received(bus, "pipeline/notify")
    order = {"entity": SUBSCRIPTION}
    assert client.post("/api/dead-letters/replay", json=order).json() == {"entity": SUBSCRIPTION, "replayed": 1}
    [again] = bus.receive(SUBSCRIPTION, max_messages=1, wait_s=60)
    # Without the properties that it had, which may be what failed.
    assert again.message == Message("granted", SUBJECT, b"{}", {REPLAYED: "1"})
    assert received(bus, "pipeline/notify") == ["granted"], "a topic's copy reaches every subscription"
    assert client.get("/api/dead-letters").json() == {"data": [], "unreadable": []}
    assert bus.depth(SUBSCRIPTION + DEAD_LETTERS) == 0
