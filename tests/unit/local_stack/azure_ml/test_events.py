"""Events of Event Grid."""

from __future__ import annotations

import re
from collections import Counter

import httpx
import pytest

from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually, job


def test_every_change_of_a_job_is_an_event_of_event_grid(local: Local) -> None:
    local.client.submit(job("tells", "true"))
    local.finish("tells")
    mine = eventually(
        lambda: (
            (found := [e for e in local.events if e["data"].get("runId") == "tells"])
            and found[-1]["data"]["runStatus"] == "Completed"
            and found
        )
    )
    assert mine
    names = [event["type"].removeprefix("Microsoft.MachineLearningServices.") for event in mine]
    assert names == ["RunStatusChanged"] * 5 + ["RunCompleted", "RunStatusChanged"]
    states = [event["data"].get("runStatus") for event in mine]
    assert states == ["NotStarted", "Queued", "Preparing", "Running", "Finalizing", None, "Completed"]
    event = mine[5]
    assert set(event) == {"specversion", "id", "source", "type", "subject", "time", "data"}
    assert (event["specversion"], event["source"]) == ("1.0", ARM_WORKSPACE)
    assert re.fullmatch(r"experiments/[0-9a-f-]{36}/runs/tells", event["subject"])
    assert event["data"]["runTags"] == {"project": "p"}
    assert event["data"]["experimentName"] == "droptune"
    assert len({event["id"] for event in mine}) == 7


def test_registering_a_model_is_an_event_once(local: Local) -> None:
    body = {"properties": {"modelUri": "azureml://datastores/models/paths/champion/"}}
    for _ in range(2):
        local.arm("PUT", "models/announced/versions/3", body)
    mine = eventually(lambda: [e for e in local.events if e["data"].get("ModelName") == "announced"])
    assert [(event["subject"], event["data"]["ModelVersion"]) for event in mine] == [("models/announced:3", "3")]


def test_events_can_be_lost_on_purpose(local: Local) -> None:
    eventually(lambda: local.emulator.store.next_event() is None)
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": "drop_events", "count": 6}, headers=local.token)
    local.client.submit(job("no-event", "true"))
    local.finish("no-event")
    eventually(lambda: local.emulator.store.next_event() is None)
    mine = [e for e in local.events if e["data"].get("runId") == "no-event"]
    assert [event["data"].get("runStatus") for event in mine] == ["Completed"]


def test_an_event_that_is_not_accepted_is_sent_again(local: Local) -> None:
    local.refusals.append(RuntimeError("the bus is down"))
    local.client.submit(job("persists", "true"))
    local.finish("persists")
    mine = eventually(lambda: [e for e in local.events if e["data"].get("runId") == "persists"])
    assert (mine[0]["data"]["runStatus"], local.refusals) == ("NotStarted", [])


@pytest.mark.ci
def test_events_can_come_twice_late_and_in_disorder(local: Local) -> None:
    eventually(lambda: local.emulator.store.next_event() is None)
    fault = {"kind": "disorder_events", "count": 7, "late_s": 1.0}
    httpx.post(f"{local.url}/_emulator/faults", json=fault, headers=local.token)
    local.client.submit(job("disorder", "sleep 0.3"))
    local.finish("disorder")
    mine = eventually(
        lambda: (found := [e for e in local.events if e["data"].get("runId") == "disorder"]) and found[13:] and found
    )
    assert mine
    assert set(Counter(event["id"] for event in mine).values()) == {2}
    order = ["NotStarted", "Queued", "Preparing", "Running", "Finalizing", None, "Completed"]
    first = list(dict.fromkeys(event["data"].get("runStatus") for event in mine))
    assert sorted(first, key=order.index) == order != first
