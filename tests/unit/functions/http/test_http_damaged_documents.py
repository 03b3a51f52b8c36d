"""What every route answers where a document or a file that it reads is damaged: never 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
from fastapi.testclient import TestClient

from shared.domain import paths
from shared.domain.run import Status
from shared.embedded.store import SqliteRunStore
from shared.ports import Services
from shared.runner import Runner
from tests.unit.functions.http.support import RESOLVED, awaiting_approval, enter, in_production
from tests.unit.shared.support import CURATED, RESULT, ROW, drop

Damage = Callable[[dict[str, Any]], Any]


def _each(change: Callable[[Any], object]) -> Damage:
    return lambda document: {name: each if name in ("id", "type") else change(each) for name, each in document.items()}


DAMAGES: dict[str, Damage] = {
    "of other types": _each(lambda value: [value]),
    "emptied": lambda document: {},
    "no object": lambda document: [document],
    "contents emptied": _each(lambda value: {} if isinstance(value, dict) else value),
    "nulls": _each(lambda value: None),
    "numbers": _each(lambda value: 5),
    "texts": _each(lambda value: "x"),
    "no version": lambda document: {**document, "schema_version": "first"},
    "later version": lambda document: {**document, "schema_version": 99},
    "of another": lambda document: {**document, "run_id": 5, "content": {"id": "file-0"}},
}
FILES = (b"", b"[]", b"5", b'{"messages": 5}\n', b"\xff\xfe", b"[" * 900, b"null\n" * 3)


@contextmanager
def damaged(services: Services, kind: str, damage: Damage) -> Iterator[None]:
    """Every document of the kind."""
    assert isinstance(services.store, SqliteRunStore)
    database = services.store._database
    with database.write() as connection:
        stored = connection.execute("SELECT body, rowid FROM documents WHERE type = ?", (kind,)).fetchall()
        spoiled = [(json.dumps(damage(json.loads(body))), row) for body, row in stored]
        connection.executemany("UPDATE documents SET body = ? WHERE rowid = ?", spoiled)
    assert stored, kind
    yield
    with database.write() as connection:
        connection.executemany("UPDATE documents SET body = ? WHERE rowid = ?", stored)


class Requests:
    """A run in each status that a command is for, an endpoint, a file and a job, and what is asked of them."""

    def __init__(self, services: Services, client: TestClient) -> None:
        self.client = client
        self.waiting = awaiting_approval(services)
        failed = drop(services, Runner(services), text=ROW * 2)
        assert failed is not None
        self.failed = enter(services, failed, Status.FAILED, recipe=RESOLVED, curated=CURATED, evaluation=RESULT)
        in_production(services)
        uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", ROW)}).json()
        self.file = uploaded["id"]
        self.order = {"model": "droptune/tiny-llama", "training_file": self.file, "metadata": {"a": "b"}}
        self.job = client.post("/v1/fine_tuning/jobs", json=self.order, headers=KEY).json()["id"]

    def of(self, kind: str) -> list[tuple[str, str]]:
        run, jobs = f"/api/runs/{self.waiting.id}", f"/v1/fine_tuning/jobs/{self.job}"
        reads = [("GET", f"{run}{part}") for part in ("", "/events", "/metrics", "/report", "/preview", "/evaluation")]
        orders = [("POST", f"{run}/{order}") for order in ("approve", "deny", "cancel", "retry")]
        orders += [("POST", f"/api/runs/{self.failed.id}/retry"), ("POST", "/api/endpoints/shop/rollback")]
        job = [("GET", jobs), ("GET", f"{jobs}/events"), ("GET", f"{jobs}/checkpoints"), ("POST", f"{jobs}/cancel")]
        job += [("GET", "/v1/fine_tuning/jobs"), ("POST", "/v1/fine_tuning/jobs")]
        return {
            "run": [*reads, *orders, *job, ("GET", "/api/runs")],
            "outbox": [("GET", f"{run}/events"), ("GET", f"{jobs}/events")],
            "endpoint": [("GET", "/api/endpoints"), ("GET", "/api/endpoints/shop"), orders[-1]],
            "file": [("GET", "/v1/files"), ("GET", f"/v1/files/{self.file}"), ("POST", "/v1/fine_tuning/jobs")],
            "fine_tuning_job": job,
            "fine_tuning_job_tag": [("GET", "/v1/fine_tuning/jobs?metadata[a]=b")],
            "claim": [],
        }[kind] + [("GET", "/api/dead-letters")]

    def wrong(self, kind: str) -> Iterator[str]:
        """What is an error of ours, or says no remedy, and what is in use and not named."""
        for method, path in self.of(kind):
            body = self.order if (method, path) == ("POST", "/v1/fine_tuning/jobs") else None
            answer = self.client.request(method, path, json=body, headers=KEY)
            error = answer.json().get("error", {})
            named = answer.status_code != 409 or error["code"] != "unreadable_document" or "dlq" in error["message"]
            if (answer.status_code >= 500 and error["code"] != "later_version") or not named:
                yield f"{method} {path}: {answer.status_code} {error}"

    def wrong_of_files(self, services: Services, content: bytes) -> Iterator[str]:
        run = self.failed.id
        blobs = {
            paths.run(run, "report.json"): ["report"],
            paths.run(run, "evaluation/rows.jsonl"): ["evaluation/rows"],
            paths.run(run, "evaluation/samples.json"): ["evaluation"],
            paths.curated(CURATED, "train.jsonl"): ["preview"],
        }
        for path, routes in blobs.items():
            services.blobs.write(path, [content])
            for route in routes:
                answer = self.client.get(f"/api/runs/{run}/{route}")
                if answer.status_code >= 500:
                    yield f"{route} {content[:9]!r}: {answer.status_code} {answer.text}"


KEY = {"Idempotency-Key": "one"}
KINDS = ("run", "outbox", "endpoint", "file", "fine_tuning_job", "fine_tuning_job_tag", "claim")


@pytest.fixture
def requests(services: Services, client: TestClient) -> Requests:
    client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    return Requests(services, client)


@pytest.mark.parametrize(
    "damages", [("of other types",), pytest.param(tuple(DAMAGES), marks=pytest.mark.slow)], ids=["one", "every"]
)
def test_no_damaged_document_is_an_error_of_the_server(
    requests: Requests, services: Services, damages: tuple[str, ...]
) -> None:
    wrong = []
    for kind, name in product(KINDS, damages):
        with damaged(services, kind, DAMAGES[name]):
            wrong += [f"{kind} {name}: {each}" for each in requests.wrong(kind)]
    assert wrong == []


def test_no_damaged_file_of_a_run_is_an_error_of_the_server(requests: Requests, services: Services) -> None:
    assert [each for content in FILES for each in requests.wrong_of_files(services, content)] == []
