"""`/api/doctor`: who may ask, and an answer however the app is."""

from __future__ import annotations

from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import OPERATOR, READER, LoopbackAuth
from shared.ports import Services
from tests.unit.functions.http.support import asking_as


def test_an_app_that_cannot_build_its_services_says_what_to_correct() -> None:
    def broken() -> Services:
        raise RuntimeError("RUN_STORE_URL names a folder that cannot be opened")

    with TestClient(create_api(broken, LoopbackAuth), base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        answer = client.get("/api/doctor")
    [check] = answer.json()["data"]
    assert (answer.status_code, check["name"], check["status"]) == (200, "settings", "fix")
    assert "RUN_STORE_URL names a folder" in check["detail"]


def test_readers_may_not_make_the_app_ask_every_service(client: TestClient) -> None:
    with asking_as(client, "ada", READER):
        refused = client.get("/api/doctor")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_needed")
    with asking_as(client, "ada", OPERATOR):
        assert client.get("/api/doctor").status_code == 200
