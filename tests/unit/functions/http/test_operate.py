"""The app says that it runs."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_health_answers_without_a_token(client: TestClient) -> None:
    assert client.get("/api/health").json()["status"] == "ok"
