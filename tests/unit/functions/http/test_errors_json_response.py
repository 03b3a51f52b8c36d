"""A number that JSON does not have is null in every answer that can carry one."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from functions.http.errors import JsonResponse
from shared.domain import paths
from shared.domain.dataset import Report, Statistics
from shared.domain.evaluation import GradedRow
from shared.domain.jobs import JobKind, MetricPoint
from shared.domain.run import JobRef, Run, Status
from shared.ports import Services
from shared.records import api_objects
from shared.records.api_objects import Job
from shared.runner import Runner
from tests.unit.functions.http.support import RESOLVED, JobCurves, enter
from tests.unit.shared.support import RESULT, drop


@pytest.fixture(params=[nan, inf, -inf], ids=str)
def run(request: pytest.FixtureRequest, services: Services, curves: JobCurves) -> Run:
    """A run in training, of which every number outside the run's own document is not finite.

    The document itself cannot hold such a number: every store refuses it.
    """
    number = request.param
    dropped = drop(services, Runner(services))
    assert dropped is not None
    answers = {"base": "a", "candidate": "b"}
    # as an evaluation job wrote it: the model itself reads such a score as null
    row = GradedRow.model_construct(row=1, scores={"base": number, "candidate": number}, answers=answers)
    write(services, paths.run(dropped.id, "evaluation/rows.jsonl"), row)
    report = Report(passed=True, format="chat", eval_source="file", statistics=Statistics(messages_mean=number))
    write(services, paths.run(dropped.id, "report.json"), report)
    point = MetricPoint(step=1, value=number, at=1)
    curves.of = lambda key: [point]
    job = JobRef(name=f"{dropped.id}-training-1", kind=JobKind.TRAINING, attempt=1, submitted_at=services.clock.now())
    store_openai_job(services, dropped)
    return enter(services, dropped, Status.TRAINING, recipe=RESOLVED, jobs=(job,), evaluation=RESULT)


def write(services: Services, path: str, document: BaseModel) -> None:
    """As Python's own json writes it: `NaN`, `Infinity`."""
    services.blobs.write(path, [json.dumps(document.model_dump(mode="json")).encode()])


def store_openai_job(services: Services, run: Run) -> None:
    job = Job(
        id=run.id,
        created_at=run.created_at,
        model="droptune/tiny-llama",
        training_file="file-1",
        validation_file=None,
        project=run.project,
        method={"type": "supervised", "supervised": {"hyperparameters": {}}},
        seed=1,
        metadata=None,
    )
    api_objects.create(services.store, job, job.created_at)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/api/runs/{id}/metrics", ("series", "train_loss", 0, 1)),
        ("/api/runs/{id}/metrics", ("progress",)),
        ("/api/runs/{id}/report", ("statistics", "messages_mean")),
        ("/api/runs/{id}/evaluation/rows", ("data", 0, "scores", "candidate")),
        ("/v1/fine_tuning/jobs/{id}", ("estimated_finish",)),
        ("/v1/fine_tuning/jobs", ("data", 0, "estimated_finish")),
    ],
)
def test_a_number_that_is_not_finite_is_null(
    client: TestClient, run: Run, path: str, place: tuple[str | int, ...]
) -> None:
    answer = client.get(path.format(id=run.id))
    assert answer.status_code == 200, answer.text
    found: Any = orjson.loads(answer.content)  # unlike Python's json it takes no NaN
    for key in place:
        found = found[key]
    assert found is None


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_the_response_class_writes_null(number: float) -> None:
    assert JsonResponse({"a": [number, 1.5]}).body == b'{"a":[null,1.5]}'


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, ["\ud800", nan]], ids=["text", "name", "list"])
def test_a_lone_surrogate_is_written_as_a_question_mark(value: object) -> None:
    assert bytes(JsonResponse({"a": value}).body).count(b"?") == 1


@pytest.mark.parametrize("number", [2**64, -(2**70), 10**300])
def test_an_integer_of_any_size_is_written(number: int) -> None:
    assert json.loads(bytes(JsonResponse({"a": [number, nan]}).body)) == {"a": [number, None]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/runs", b'{"dataset": "\\ud800"}'),
        ("/api/dead-letters/replay", b'{"entity": "\\ud800"}'),
        ("/v1/fine_tuning/jobs", b'{"\\ud800": 1}'),
    ],
)
def test_a_lone_surrogate_of_a_request_is_refused(client: TestClient, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_an_error_that_nobody_expected_is_answered_in_the_same_form() -> None:
    def broken() -> Services:
        raise RuntimeError("a secret")

    with TestClient(
        create_api(broken, LoopbackAuth), "http://127.0.0.1", raise_server_exceptions=False, client=("127.0.0.1", 1)
    ) as client:
        answer = client.get("/api/runs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("part", ["", "/events", "/evaluation"])
def test_what_is_stored_with_the_run_stays_readable(client: TestClient, run: Run, part: str) -> None:
    answer = client.get(f"/api/runs/{run.id}{part}", params={"wait_s": 0.1}, headers={"if-none-match": '"0"'})
    assert answer.status_code == 200
    orjson.loads(answer.content)


def test_answers_with_json_are_not_kept_and_not_guessed_at(client: TestClient) -> None:
    for path in ("/api/runs", "/api/runs/run-000000000000", "/v1/files"):
        headers = client.get(path).headers
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
