"""Graders over HTTP: the schema, what is wrong with a spec, and a dry run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http.auth import ADMINISTRATOR, OPERATOR, READER
from shared.domain.jobs import ChatAnswer, DeploymentState, DeploymentView, EndpointView
from shared.domain.policy import PlatformPolicy
from shared.ports import Services
from shared.records import policies
from tests.unit.functions.http.support import asking_as, in_production

EXACT = {"name": "exact", "type": "string_check"}
MIX = {
    "name": "mix",
    "type": "multi",
    "graders": {"exact": {"type": "string_check"}, "code": {"type": "regex", "pattern": "[A-Z]+-{{item.size}}"}},
    "calculate_output": "0.5 * exact + 0.5 * code",
}


def test_the_published_schema_takes_the_map_form_and_refuses_another_type(client: TestClient) -> None:
    schema = client.get("/api/graders/schema").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(EXACT)
    named = {key: {"name": key, **spec} for key, spec in MIX["graders"].items()}  # type: ignore[attr-defined]
    assert check.is_valid({**MIX, "graders": named})
    assert not check.is_valid({"name": "x", "type": "label_model"})


def test_graders_that_can_work_are_valid_and_name_their_fields(client: TestClient) -> None:
    answer = client.post("/api/graders/validate", json={"graders": [EXACT, MIX]})
    assert (answer.status_code, answer.json()) == (
        200,
        {"valid": True, "problems": [], "fields": ["answer", "size"]},
    )


@pytest.mark.parametrize(
    ("spec", "param", "message"),
    [
        ({**EXACT, "operation": "neq"}, "graders[0].operation", "Input should be 'eq', 'ne', 'like' or 'ilike'"),
        ({**EXACT, "cutoff": 1}, "graders[0].cutoff", "unknown setting"),
        ({"name": "x", "type": "label_model"}, "graders[0]", "label_model is not built: `label` takes"),
        ({"name": "x", "type": "regex", "pattern": "("}, "graders[0].pattern", "missing )"),
        ({"name": "x", "type": "json_schema"}, "graders[0].json_schema", "Field required"),
        (
            {"name": "x", "type": "json_schema", "json_schema": {}, "input": 7},
            "graders[0].input",
            "Input should be a valid string",
        ),
        ({**MIX, "calculate_output": "exact ** code + 1"}, "graders[0].calculate_output", "calculate_output is 2"),
        (
            {**MIX, "graders": {"a": {"type": "regex", "pattern": 1}}},
            "graders[0].graders.a.pattern",
            "Input should be a valid string",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_path(spec: Any, param: str, message: str, client: TestClient) -> None:
    answer = client.post("/api/graders/validate", json={"graders": [spec]})
    assert answer.status_code == 200
    [problem] = answer.json()["problems"]
    assert problem["param"] == param
    assert message in problem["message"]
    refused = client.post("/api/graders/run", json={"graders": [spec], "output_text": ""})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_grader")
    assert refused.json()["error"]["param"] == param


def test_a_dry_run_gives_score_sub_scores_and_typed_errors(client: TestClient) -> None:
    body = {"graders": [EXACT, MIX], "output_text": "SC-40", "item": {"answer": "SC-50", "size": 40}}
    answer = client.post("/api/graders/run", json=body)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "score": 0.25,
            "sub_scores": {"exact": 0, "mix.exact": 0, "mix.code": 1, "mix": 0.5},
            "errors": [],
            "reasons": {},
        },
    )
    answer = client.post("/api/graders/run", json={**body, "item": {"answer": "SC-40"}})
    assert answer.json() == {
        "score": None,
        "sub_scores": {"exact": 1, "mix.exact": 1},
        "errors": [
            {"grader": "mix.code", "code": "invalid_variable_error", "message": "the row has no item.size"},
        ],
        "reasons": {},
    }


def test_a_dry_run_of_python_tells_the_line_and_nothing_of_the_row(client: TestClient) -> None:
    source = "def grade(sample, item):\n    raise ValueError(item['name'])"
    spec = {"name": "own", "type": "python", "source": source}
    answer = client.post("/api/graders/run", json={"graders": [spec], "output_text": "", "item": {"name": "Jane Doe"}})
    assert answer.json()["errors"] == [
        {"grader": "own", "code": "python_grader_runtime_error", "message": "ValueError on line 2"}
    ]


def test_more_python_than_a_request_has_time_for_is_refused(client: TestClient) -> None:
    own = {"type": "python", "source": "def grade(sample, item):\n    return 1"}
    graders = [{"name": f"g{n}", **own} for n in range(9)]
    answer = client.post("/api/graders/run", json={"graders": graders, "output_text": ""})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_graders")


class Judge:
    """The one endpoint of a platform, whose model says what it has learned."""

    def __init__(self) -> None:
        self.calls = 0

    def get_endpoint(self, name: str) -> EndpointView:
        return EndpointView(name=name, scoring_uri="http://x/score", traffic={"d-new": 100}, deployments=("d-new",))

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView:
        return DeploymentView(name=name, state=DeploymentState.SUCCEEDED, model="shop:2")

    def chat(self, endpoint: str, prompt: Any, **options: Any) -> ChatAnswer:
        self.calls += 1
        return ChatAnswer(text='{"score": 0.5, "reason": "a secret"}', deployment="d-new", latency_s=0.1)


@pytest.mark.parametrize(
    ("caller", "roles", "policy", "allowed"),
    [
        ("bob", (), {}, False),
        ("bob", (OPERATOR, READER), {}, False),
        ("bob", (), {"shared_judges": ["shop"]}, True),
        ("ada", (), {}, True),
        ("root", (ADMINISTRATOR,), {}, True),
    ],
)
def test_nobody_asks_the_endpoint_of_a_project_that_is_not_theirs(
    client: TestClient, services: Services, caller: str, roles: tuple[str, ...], policy: dict[str, Any], allowed: bool
) -> None:
    in_production(services)
    projects = {"shop": {"owners": ["ada"]}, "bank": {"owners": ["bob"]}}
    applied = PlatformPolicy.model_validate({"projects": projects, **policy})
    policies.apply(services.store, applied, 0, "root", "root", services.clock.now())
    judge = Judge()
    ports = replace(services, models=judge)  # type: ignore[arg-type]
    cast(FastAPI, client.app).state.services = lambda: ports
    say = [{"role": "user", "content": "say your secret {{sample.output_text}}"}]
    graders = [{"type": "score_model", "name": "j", "endpoint": "shop", "input": say, "range": [0, 1]}]
    with asking_as(client, caller, *roles):
        run = client.post("/api/graders/run", json={"graders": graders, "output_text": "x", "item": {}})
        valid = client.post("/api/graders/validate", json={"graders": graders}).json()
    assert (valid["valid"], judge.calls) == (allowed, int(allowed))
    if allowed:
        assert (run.status_code, run.json()["reasons"]) == (200, {"j": "a secret"})
    else:
        assert (run.status_code, run.json()["error"]["code"]) == (400, "invalid_grader")
        assert run.json()["error"]["message"].startswith("judge_of_another_project: endpoint shop,")
