"""A line of the log says who changed what, and who was refused."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http.auth import OPERATOR, READER, Caller, make_authenticator
from functions.http.middleware import READS
from shared.ports import Services
from shared.runner import Runner
from tests.unit.shared.support import drop

SECRET = "not-to-be-logged"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [record.getMessage() for record in caplog.records if record.name == "functions.http.middleware"]
    caplog.clear()
    assert not any(SECRET in one for one in found)
    return [json.loads(one.removeprefix("audit ")) for one in found]


def test_writes_and_refusals_have_a_line_with_who_what_and_status(
    client: TestClient, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = drop(services, Runner(services))
    assert run is not None
    assert client.get(f"/api/runs/{run.id}").status_code == 200
    assert lines(caplog) == []
    cancel = f"/api/runs/{run.id}/cancel"
    assert client.post(f"{cancel}?x={SECRET}", json={"x": SECRET}).status_code == 202
    local = {"by_id": "local", "by": "local"}
    of_run = {"method": "POST", "route": "/api/runs/{run_id}/cancel", "path": cancel, "target": {"run_id": run.id}}
    assert lines(caplog) == [{**local, **of_run, "status": 202}]
    assert client.post("/api/dead-letters/replay", json={"entity": SECRET}).status_code == 404
    [replayed] = lines(caplog)
    assert (replayed["by_id"], replayed["route"], replayed["status"]) == ("local", "/api/dead-letters/replay", 404)

    app = cast(FastAPI, client.app)
    before = app.state.authenticator
    app.state.authenticator = lambda: lambda request: Caller("bob", frozenset({READER}), id="object-2")
    assert client.post(cancel).status_code == 403
    assert client.get("/api/dead-letters").status_code == 200
    assert lines(caplog) == [{"by_id": "object-2", "by": "bob", **of_run, "status": 403}]
    app.state.authenticator = lambda: lambda request: Caller("eve", frozenset({OPERATOR}), id="object-3")
    assert client.get("/api/dead-letters").status_code == 403
    [read] = lines(caplog)
    assert (read["by_id"], read["method"], read["route"]) == ("object-3", "GET", "/api/dead-letters")
    entra = make_authenticator("https://login.example/t/v2.0?audience=a")
    app.state.authenticator = lambda: entra
    headers = {"authorization": f"Bearer {SECRET}"}
    assert [client.get("/api/runs", headers=headers).status_code, client.post(cancel).status_code] == [401, 401]
    app.state.authenticator = before
    nobody = {"by_id": None, "by": None, "status": 401}
    found = lines(caplog)
    assert [{**one, **nobody} for one in found] == found
    assert [(one["method"], one["path"]) for one in found] == [("GET", "/api/runs"), ("POST", cancel)]


def test_each_route_that_changes_something_has_a_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    paths = cast(FastAPI, client.app).openapi()["paths"]
    writes = [(method.upper(), path) for path, one in paths.items() for method in one if method.upper() not in READS]
    assert len(writes) >= 20
    for method, path in writes:
        client.request(method, path.replace("{", "").replace("}", ""), json={})
        [line] = lines(caplog)
        by = None if path.startswith("/api/intake/") else "local"
        assert (line["method"], line["by_id"]) == (method, by)
        if by is None:  # refused before a route was looked for
            continue
        assert path.endswith(line["route"].replace(":path", "")), "a router of routers gives its part"


@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/health", "/api/nothing", "/api/runs", "/", "/api/docs"])
def test_no_browser_guesses_the_type_of_an_answer(client: TestClient, path: str) -> None:
    assert client.get(path).headers.get_list("x-content-type-options") == ["nosniff"]
