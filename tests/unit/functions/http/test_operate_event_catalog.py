"""The documents about the events, as they are served."""

from __future__ import annotations

import jsonschema
import pytest
from fastapi.testclient import TestClient

from shared.domain.events import EVENT_TYPES


def test_the_document_of_all_events_has_each_of_them(client: TestClient) -> None:
    document = client.get("/api/events/asyncapi.json").json()
    assert [message["name"] for message in document["components"]["messages"].values()] == list(EVENT_TYPES)


def test_the_schema_of_an_event_stands_by_itself(client: TestClient) -> None:
    schema = client.get("/api/events/schemas/droptune.run.failed.v1").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["type"] == {"const": "droptune.run.failed.v1"}
    assert list(schema["$defs"]) == ["RunFailed", "FailureClass", "Problem"]


@pytest.mark.parametrize("type", ["droptune.run.failed.v2", "run.failed", "RunFailed", "%20"])
def test_another_type_has_no_schema(client: TestClient, type: str) -> None:
    answer = client.get(f"/api/events/schemas/{type}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_event_type")
