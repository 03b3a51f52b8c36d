"""A body is read of a caller who is known, and up to a size."""

from __future__ import annotations

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from functions.http import create_api, middleware
from functions.http.auth import Caller
from functions.http.errors import ApiError
from shared.ports import Services

JSON_ROUTES = ["/api/runs", "/api/graders/run", "/api/graders/validate", "/v1/fine_tuning/jobs"]
ROUTES = [("POST", path) for path in (*JSON_ROUTES, "/v1/files")] + [("PUT", "/api/datasets/shop/train.jsonl")]
BODIES = {"malformed": b"{", "none": b"", "large": b'{"a": "' + b"x" * 3_000_000 + b'"}', "no UTF-8": b"\xff"}


def nobody(request: Request) -> Caller:
    raise ApiError(401, "no_token", "who is it?")


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_of_somebody_unknown_no_body_is_read(method: str, path: str, body: str, services: Services) -> None:
    client = TestClient(create_api(lambda: services, lambda: nobody))
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=BODIES[body], headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_token")


@pytest.mark.parametrize("path", JSON_ROUTES)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
def test_a_json_body_has_a_limit(path: str, declared: bool, client: TestClient) -> None:
    body = b'{"a": "' + b"x" * middleware.MAX_BYTES + b'"}'
    content = body if declared else iter([body[:500_000], body[500_000:]])
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
def test_a_file_has_a_limit_of_its_own(
    declared: bool, client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "MAX_UPLOAD_BYTES", 2_000_000)
    for size, status in ((1_900_000, 201), (2_100_000, 413)):
        content = bytes(size) if declared else iter([bytes(size - 10), bytes(10)])
        assert client.put("/api/datasets/shop/other.txt", content=content).status_code == status
    info = services.blobs.info("datasets/shop/other.txt")
    assert info is not None
    assert info.size_bytes == 1_900_000
    form = client.post("/v1/files", files={"file": ("a.jsonl", bytes(2_100_000))}, data={"purpose": "fine-tune"})
    assert form.status_code == 413
