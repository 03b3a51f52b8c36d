"""The code of each error answer."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/runs/run-000000000000", 404, "run_not_found"),
        ("/api/runs/run-000000000000/report", 404, "run_not_found"),
        ("/api/nothing", 404, "not_found"),
        ("/api/runs?limit=0", 400, "bad_request"),
        ("/api/runs?status=lost", 400, "bad_request"),
    ],
)
def test_what_is_not_there_or_wrong_has_a_code(client: TestClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("path", ["/api/runs", "/api/graders/validate", "/api/dead-letters/replay"])
@pytest.mark.parametrize("body", [[5], "text", 5])
def test_a_body_that_is_no_object_is_called_so(client: TestClient, path: str, body: object) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Input should be an object")
