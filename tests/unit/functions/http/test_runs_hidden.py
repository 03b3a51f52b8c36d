"""What lists tell of runs, jobs and files of projects that the caller does not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http.auth import OPERATOR, READER, Caller
from shared.domain.policy import PlatformPolicy
from shared.ports import Services, Write
from shared.ports.store import read_cursor
from shared.records import policies
from shared.runner import Runner
from tests.unit.shared.support import drop

As = Callable[..., None]
ROWS = b"".join(b'{"messages": [{"role": "user", "content": "%d"}]}\n' % number for number in range(3))


@pytest.fixture
def act_as(client: TestClient) -> Iterator[As]:
    app = cast(FastAPI, client.app)
    before = app.state.authenticator

    def become(person: str, *roles: str) -> None:
        app.state.authenticator = lambda: lambda request: Caller(person, frozenset(roles), id=person)

    yield become
    app.state.authenticator = before


def govern(services: Services) -> None:
    projects = {"shop": {"owners": ["ada"]}, "bank": {"owners": ["bob"]}}
    policy = PlatformPolicy.model_validate({"projects": projects})
    policies.apply(services.store, policy, 0, "root", "root", services.clock.now())


def spoil(services: Services, partition: str, kind: str) -> None:
    stored = services.store.get(partition, kind)
    assert stored is not None
    services.store.batch(partition, [Write("replace", kind, {**stored.document, "content": {"x": 1}})])


def test_the_cursor_of_runs_is_of_a_run_that_was_shown_and_a_page_is_full(
    client: TestClient, services: Services, act_as: As
) -> None:
    runs = [
        drop(services, Runner(services), f"datasets/{project}/train.jsonl", b"%d" % number)
        for number, project in enumerate(["bank", "shop", "bank", "shop", "shop", "bank", "shop"])
    ]
    govern(services)
    act_as("bob")
    own = [run.id for run in reversed(runs) if run and run.project == "bank"]
    seen, after = list[str](), None
    for left in (2, 1, 0):
        page: Any = client.get("/api/runs", params={"limit": 1, **({"after": after} if after else {})}).json()
        seen += [run["id"] for run in page["data"]]
        after = page["next"]
        assert (after is None) == (left == 0)
        assert after is None or read_cursor(after)[2] == seen[-1]
    assert seen == own
    hidden = client.get("/api/runs", params={"limit": 1, "project": "shop"}).json()
    assert (hidden["data"], hidden["next"]) == ([], None)


@pytest.mark.parametrize(("route", "kind"), [("/v1/fine_tuning/jobs", "fine_tuning_job"), ("/v1/files", "file")])
def test_a_job_or_file_of_others_is_no_cursor_and_is_not_named_where_it_cannot_be_read(
    client: TestClient, services: Services, act_as: As, route: str, kind: str
) -> None:
    act_as("ada", OPERATOR, READER)
    uploaded = client.post("/v1/files", files={"file": ("train.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()
    body = {"model": "droptune/tiny-llama", "training_file": uploaded["id"], "suffix": "shop"}
    job = client.post("/v1/fine_tuning/jobs", json=body).json()
    known = job["id"] if kind == "fine_tuning_job" else uploaded["id"]
    govern(services)
    assert client.get(route, params={"after": known}).status_code == 200
    act_as("bob")
    answers = [client.get(route, params={"after": one}) for one in (known, known[:-4] + "0000")]
    assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [(400, "unknown_cursor")] * 2
    spoil(services, known, kind)
    assert client.get(route).json()["unreadable"] == []
    assert client.get(route, params={"after": known}).status_code == 400
    act_as("eve", READER)
    assert [one["partition"] for one in client.get(route).json()["unreadable"]] == [known]
