"""A judge of the workspace, asked by a job under the identity that the platform gives it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from shared.domain.errors import FailureClass
from shared.domain.evaluation import JudgeEndpoint, Judges
from shared.domain.jobs import DeploymentState, JobStatus, ModelSpec
from shared.step_support.llm_judges import find_judge
from tests.fresh_process import fresh_process
from tests.unit.local_stack.azure_ml.support import WORKSPACE, Local, deployment, eventually, finished, job

SPEC = {
    "name": "tone",
    "type": "score_model",
    "endpoint": "bench",
    "range": [1, 5],
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}
SCRIPT = f"""
from pathlib import Path
from pydantic import TypeAdapter
from shared.domain.graders import Grader
from shared.grading.engine import Engine
from training_job.evaluation.judges import read_judges
grader = TypeAdapter(Grader).validate_python({SPEC})
with Engine([grader], read_judges(Path("JUDGES"), (grader,), None)) as engine:
    [grade] = engine.grade(["yes"], [{{}}])
assert (grade.score, grade.reasons) == (0.5, {{"tone": "plain"}}), grade
"""


@pytest.fixture(scope="module")
def judge(local: Local) -> JudgeEndpoint:
    """An endpoint whose server gives every answer 3 of 5."""
    local.client.register_model(ModelSpec(name="judge", version="1", uri="azureml://datastores/models/paths/champion/"))
    eventually(lambda: local.client.begin_endpoint("bench", {}))
    answer = {"ANSWER": '{"score": 3, "reason": "plain"}'}
    local.client.begin_deployment(deployment("bench", "blue", "judge:1", environment_variables=answer))

    def ready() -> bool:
        view = local.client.get_deployment("bench", "blue")
        return view is not None and view.state is DeploymentState.SUCCEEDED

    eventually(ready)
    local.client.begin_traffic("bench", {"blue": 100})
    eventually(lambda: (view := local.client.get_endpoint("bench")) and view.traffic)
    return find_judge("bench", local.client, FailureClass.RECIPE)


@pytest.mark.ci
def test_a_job_asks_the_judge_that_was_found_for_it(judge: JudgeEndpoint, local: Local) -> None:
    assert (judge.endpoint, judge.deployment, judge.model) == ("bench", "blue", "judge:1")
    file = local.blobs / "runs" / "judges.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Judges(judges=(judge,)).model_dump_json())
    command = f"python -c {shlex.quote(SCRIPT.replace('JUDGES', str(file)))}"
    local.client.submit(job("run-judge", command, outputs={}))
    view = finished(local.client, "run-judge")
    assert (view.status, view.error_message) == (JobStatus.COMPLETED, None)


@pytest.fixture
def api(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The HTTP API on this workspace."""
    monkeypatch.setenv("AZURE_ML_URL", f"azureml+http://127.0.0.1:{local.emulator.config.port}/{WORKSPACE}")
    monkeypatch.setenv("AZURE_ML_SECRET", local.emulator.config.secret)
    with (
        fresh_process(tmp_path, monkeypatch) as services,
        TestClient(
            create_api(lambda: services, LoopbackAuth), base_url="http://127.0.0.1", client=("127.0.0.1", 1)
        ) as client,
        closing(services.models),  # type: ignore[type-var]
    ):
        yield client


def test_a_dry_run_asks_the_judge_and_shows_its_reason(judge: JudgeEndpoint, api: TestClient) -> None:
    answer = api.post("/api/graders/run", json={"graders": [SPEC], "output_text": "yes"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"score": 0.5, "sub_scores": {"tone": 0.5}, "errors": [], "reasons": {"tone": "plain"}},
    )
    low = {**SPEC, "range": [0, 1]}
    answer = api.post("/api/graders/run", json={"graders": [low], "output_text": "yes"})
    [error] = answer.json()["errors"]
    assert (answer.json()["score"], error["code"]) == (None, "model_grader_parse_error")


@pytest.mark.parametrize(("endpoint", "code"), [("nowhere", "judge_not_found"), ("idle", "judge_without_traffic")])
def test_a_judge_that_cannot_answer_is_refused_before_it_is_asked(
    endpoint: str, code: str, local: Local, api: TestClient
) -> None:
    eventually(lambda: local.client.begin_endpoint("idle", {}))
    body = {"graders": [{**SPEC, "endpoint": endpoint}]}
    answer = api.post("/api/graders/validate", json=body).json()
    assert (answer["valid"], answer["problems"][0]["param"]) == (False, "graders")
    assert answer["problems"][0]["message"].startswith(f"{code}: ")
    refused = api.post("/api/graders/run", json={**body, "output_text": ""})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_grader")
