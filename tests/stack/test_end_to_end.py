"""A dropped dataset becomes a deployed, answering model, though everything is killed while it is trained on; a broken,
a worse and a repeated one do not.

One stack serves all tests of this file, in order: the later ones need the model of the first in production.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from recipes.__main__ import sample
from tests.receiver import Receiver
from tests.stack import ledger
from tests.stack.local import RECIPE, LocalStack, ask, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

PROJECT = "shop"
KILLED_AT = 60  # of 500 steps; the first checkpoint is at a tenth
WORSE_ROWS = 400


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    running = LocalStack(
        tmp_path_factory.mktemp("whole") / "stack",
        ledger.SETTINGS,
    )
    ledger.subscribe(running, receiver)
    yield running
    running.down()


@pytest.fixture(scope="module")
def killed(local: LocalStack, receiver: Receiver) -> dict[str, Any]:
    """The first run, in training, after `kill -9` of every process and a new start of the stack."""
    local.drop_recipe(PROJECT)
    run = local.wait(PROJECT, {"training"})
    until(lambda: "droptune.training.started.v1" in events_of(receiver, run["id"]), "the channel is told")
    until(lambda: not local.waiting("notify") and _steps(local, run) >= KILLED_AT, f"step {KILLED_AT}")
    assert local.kill_everything() >= 3  # host, emulator and the job
    local.up()
    return run


def _steps(local: LocalStack, run: dict[str, Any]) -> int:
    progress = local.get(f"/api/runs/{run['id']}/metrics")["progress"]
    return int(progress["step"]) if progress else 0


@pytest.fixture(scope="module")
def promoted(local: LocalStack, killed: dict[str, Any]) -> dict[str, Any]:
    return local.wait(PROJECT, {"deployed"})


def held_out() -> tuple[str, str]:
    """Question and answer of the first held-out row."""
    messages = json.loads((RECIPE / "eval.jsonl").read_text().splitlines()[0])["messages"]
    return messages[0]["content"], messages[-1]["content"]


def events_of(receiver: Receiver, run_id: str) -> list[str]:
    events = [json.loads(body) for _, body in receiver.got]
    return [event["type"] for event in events if event["subject"] == run_id]


def test_broken_rows_are_rejected_by_row_and_code_before_any_job(local: LocalStack, killed: dict[str, Any]) -> None:
    """While the first run is trained."""
    rows = [
        json.dumps({"messages": [{"role": "user", "content": str(n)}, {"role": "assistant", "content": "a"}]})
        for n in range(12)
    ]
    rows[3] = "{not json"
    rows[7] = json.dumps({"messages": [{"role": "user", "content": "alone"}]})
    local.drop("broken", "train.jsonl", "\n".join(rows).encode())
    run = local.wait("broken", {"rejected"})
    report = local.get(f"/api/runs/{run['id']}/report")
    found = {group["code"]: group["rows"] for group in report["problems"] if group["severity"] == "error"}
    assert found == {"invalid_json": [4], "example_missing_assistant_message": [8]}
    assert run["jobs"] == []
    assert not [job for job in local.jobs() if run["id"] in job["name"]]


@pytest.mark.parametrize(
    ("project", "name", "text", "code"),
    [
        ("empty-file", "train.jsonl", b"", "empty_dataset"),
        ("not-jsonl", "train.pdf", b"%PDF-1.7", "not_utf8"),
        ("Bad_Name", "train.jsonl", b"{}\n", "project_name"),
    ],
)
def test_what_is_no_dataset_is_rejected_by_code(
    local: LocalStack, project: str, name: str, text: bytes, code: str
) -> None:
    local.drop(project, name, text)
    run = local.wait(project, {"rejected"})
    assert code in run["validation"]["codes"]
    assert run["jobs"] == []


def test_a_run_killed_with_the_whole_stack_during_training_ends_deployed_with_one_job(
    local: LocalStack, killed: dict[str, Any], promoted: dict[str, Any]
) -> None:
    assert promoted["id"] == killed["id"]
    names = [job["name"] for job in local.jobs()]
    assert sorted(names) == [f"{killed['id']}-evaluation-1", f"{killed['id']}-training-1"]
    lines = (local.root / "blobs" / "runs" / killed["id"] / "metrics.jsonl").read_text().splitlines()
    steps = [point["step"] for point in map(json.loads, lines) if "loss" in point]
    assert steps == sorted(set(steps)), "each step is logged once"
    training = next(job for job in local.jobs() if job["name"].endswith("-training-1"))
    assert training["attempt"] == 2, "the platform restarted it, as it does a preempted one"
    log = local.root / "azure_ml" / "jobs" / training["name"] / "user_logs" / "std_log.txt"
    assert "resuming from step" in log.read_text()


def test_a_dropped_dataset_ends_deployed_and_better_beyond_its_interval(promoted: dict[str, Any]) -> None:
    statuses = [line["status"] for line in promoted["history"]]
    assert statuses == [
        "received",
        "validated",
        "training",
        "evaluating",
        "approved",
        "deploying",
        "deploying",
        "deployed",
    ]
    assert promoted["evaluation"]["base"]["mean"] == 0.0
    assert promoted["evaluation"]["candidate"]["mean"] >= 0.95
    assert promoted["evaluation"]["gains"][0]["low"] > 0.9
    assert promoted["verdict"]["passed"]


def test_the_endpoint_answers_a_question_it_was_never_trained_on(local: LocalStack, promoted: dict[str, Any]) -> None:
    question, answer = held_out()
    assert ask(local.root, promoted["rollout"]["scoring_uri"], question) == answer


def test_the_api_tells_metrics_evaluation_report_and_events(local: LocalStack, promoted: dict[str, Any]) -> None:
    path = f"/api/runs/{promoted['id']}"
    metrics = local.get(f"{path}/metrics")
    assert metrics["job"] == f"{promoted['id']}-training-1"
    assert metrics["progress"]["step"] == metrics["progress"]["total_steps"] == promoted["training"]["last_step"]
    losses = [value for _, value in metrics["series"]["train_loss"]]
    assert len(losses) >= 20
    assert losses[-1] < losses[0] / 10
    assert local.get(f"{path}/report")["passed"] is True
    assert len(local.get(f"{path}/evaluation")["samples"]) >= 3
    facts = [
        event["type"].removeprefix("droptune.").removesuffix(".v1") for event in local.get(f"{path}/events")["data"]
    ]
    assert facts == [
        "dataset.uploaded",
        "validation.passed",
        "training.started",
        "evaluation.started",
        "evaluation.passed",
        "deployment.started",
        "traffic.shifted",
        "model.promoted",
    ]


def test_every_event_that_a_channel_got_is_as_its_schema_says(
    local: LocalStack, promoted: dict[str, Any], receiver: Receiver
) -> None:
    until(lambda: "droptune.model.promoted.v1" in events_of(receiver, promoted["id"]), "the channel is told")
    for event in [json.loads(body) for _, body in receiver.got]:
        schema = local.get(f"/api/events/schemas/{event['type']}")
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(event)


def test_a_webhook_gets_one_event_for_validation_training_evaluation_and_promotion(
    receiver: Receiver, promoted: dict[str, Any]
) -> None:
    got = events_of(receiver, promoted["id"])
    for fact in ("validation.passed", "training.completed", "evaluation.passed", "model.promoted"):
        assert got.count(f"droptune.{fact}.v1") == 1, got


def test_the_same_bytes_dropped_twice_end_duplicate(local: LocalStack, promoted: dict[str, Any]) -> None:
    local.drop(PROJECT, "train-again.jsonl", (RECIPE / "train.jsonl").read_bytes())
    again = local.wait(PROJECT, {"duplicate"}, runs=2)
    assert again["duplicate_of"] == promoted["id"]
    assert again["jobs"] == []


def test_a_worse_candidate_is_declined_and_production_keeps_answering(
    local: LocalStack, promoted: dict[str, Any]
) -> None:
    worse = sample(RECIPE.name, shuffle_answers=True)["train.jsonl"][:WORSE_ROWS]
    once = (RECIPE / "recipe.yaml").read_text().replace("n_epochs: 5", "n_epochs: 1")
    local.drop(PROJECT, "recipe.yaml", once.encode())
    local.drop(PROJECT, "train-shuffled.jsonl", "\n".join(map(json.dumps, worse)).encode())
    run = local.wait(PROJECT, {"declined"}, runs=3)
    assert run["champion"] == promoted["id"]
    failed = [check["name"] for check in run["verdict"]["checks"] if not check["passed"]]
    assert {"min_score", "gain_over_champion"} <= set(failed)
    assert run["rollout"] is None
    question, answer = held_out()
    assert ask(local.root, promoted["rollout"]["scoring_uri"], question) == answer
