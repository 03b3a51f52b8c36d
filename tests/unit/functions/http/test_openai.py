"""OpenAI's own client against the API, unchanged but for its base URL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import openai
import orjson
import pytest
import yaml
from fastapi.testclient import TestClient
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from functions.http.openai.shapes import STATUS
from shared.domain import paths
from shared.domain.catalog import find_entry
from shared.domain.commands import parse_request
from shared.domain.dataset import Report
from shared.domain.drop_zone import starts_a_run
from shared.domain.errors import FailureClass, Problem, Transient
from shared.domain.evaluation import GateCheck, Verdict
from shared.domain.events import CancelRequested, ValidationFailed
from shared.domain.findings import Findings
from shared.domain.jobs import JobKind, MetricPoint
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import JobMetrics
from shared.domain.run import TERMINAL, Decision, JobRef, Run, RunError, Status
from shared.ports import Services
from shared.records.blob_documents import write_model
from shared.runner import Runner
from shared.step_support.outcome import Draft
from shared.steps.receive_dataset import receive_dataset
from shared.validation.validator import ALL_CODES
from tests.unit.functions.http.support import JobCurves, SettableClock, asking_as, enter
from tests.unit.shared.support import ROW, events_at, take

BASE = "droptune/tiny-llama"


@pytest.fixture
def ai(client: TestClient) -> OpenAI:
    return OpenAI(api_key="a token", base_url="http://127.0.0.1/v1", http_client=client, max_retries=0)


@pytest.fixture
def training(ai: OpenAI) -> str:
    return ai.files.create(file=("train.jsonl", ROW * 3), purpose="fine-tune").id


def create(ai: OpenAI, training: str, **parameters: Any) -> FineTuningJob:
    return ai.fine_tuning.jobs.create(training_file=training, model=BASE, **parameters)


def receive(services: Services) -> Run:
    """The run that the order on the bus makes."""
    (message,) = take(services, "storage-events")
    reception = receive_dataset(parse_request(orjson.loads(message.message.body)), services)
    assert reception is not None
    return Runner(services).create(reception, message.message.id, message.message.subject)


def recipe(services: Services, run: Run) -> dict[str, Any]:
    path = run.dataset.path.rsplit("/", 1)[0] + "/recipe.yaml"
    return dict(yaml.safe_load(b"".join(services.blobs.read(path))))


def test_a_file_is_kept_listed_read_and_deleted(ai: OpenAI, services: Services) -> None:
    kept = ai.files.create(file=("my data.jsonl", ROW), purpose="fine-tune")
    assert (kept.object, kept.filename, kept.bytes, kept.purpose, kept.status) == (
        "file",
        "my data.jsonl",
        len(ROW),
        "fine-tune",
        "processed",
    )
    assert ai.files.retrieve(kept.id) == kept
    assert ai.files.content(kept.id).read() == ROW
    second = ai.files.create(file=("other.jsonl", ROW * 2), purpose="fine-tune")
    assert [file.id for file in ai.files.list(limit=1)] == [second.id, kept.id], "the client asks for the next page"
    deleted = ai.files.delete(kept.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (kept.id, True, "file")
    with pytest.raises(openai.NotFoundError) as refused:
        ai.files.content(kept.id)
    assert (refused.value.code, refused.value.type, refused.value.param) == (
        "file_not_found",
        "invalid_request_error",
        "file_id",
    )
    assert take(services, "storage-events") == []


def test_an_upload_starts_no_run_and_is_no_dataset_that_was_missed(
    ai: OpenAI, training: str, services: Services
) -> None:
    uploads = [blob.path for blob in services.blobs.list("datasets/")]
    assert uploads == [f"datasets/_files/{training}"]
    assert not starts_a_run(uploads[0])


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ({"purpose": "assistants"}, "unsupported_purpose", "purpose"),
        ({"purpose": "fine-tune", "extra_body": {"color": "red"}}, "unknown_parameter", "color"),
    ],
)
def test_an_upload_for_something_else_is_refused(ai: OpenAI, parameters: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ai.files.create(file=("train.jsonl", ROW), **parameters)
    assert (refused.value.code, refused.value.param, refused.value.type) == (code, param, "invalid_request_error")


def test_a_job_is_a_run_of_the_project_its_suffix_names(
    ai: OpenAI, training: str, services: Services, clock: SettableClock
) -> None:
    clock.moment = clock.now()
    held_out = ai.files.create(file=("check.jsonl", ROW), purpose="fine-tune").id
    job = create(
        ai,
        training,
        validation_file=held_out,
        suffix="claims",
        seed=7,
        metadata={"use_case": "triage of claims", "team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
    )
    assert job.to_dict() == {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(services.clock.now().timestamp()),
        "finished_at": None,
        "estimated_finish": None,
        "model": BASE,
        "fine_tuned_model": None,
        "organization_id": "claims",
        "status": "validating_files",
        "training_file": training,
        "validation_file": held_out,
        "result_files": [],
        "trained_tokens": None,
        "seed": 7,
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
            },
        },
        "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        "integrations": [],
        "metadata": {"use_case": "triage of claims", "team": "a"},
        "error": None,
    }
    run = receive(services)
    assert (run.id, run.project, run.status, run.requested_by) == (job.id, "claims", Status.RECEIVED, "local")
    assert b"".join(services.blobs.read(run.dataset.path)) == ROW * 3
    assert recipe(services, run) == {
        "base_model": BASE,
        "method": {"type": "supervised", "hyperparameters": {"n_epochs": 2, "seed": 7}},
        "use_case": "triage of claims",
    }
    folder = run.dataset.path.rsplit("/", 1)[0]
    assert b"".join(services.blobs.read(f"{folder}/eval.jsonl")) == ROW


def test_the_projects_recipe_decides_what_a_job_cannot_say(ai: OpenAI, training: str, services: Services) -> None:
    own = b"base_model: microsoft/Phi-4\ndeployment: {approval: required}\nmethod: {hyperparameters: {lora_rank: 4}}\n"
    services.blobs.write("datasets/claims/recipe.yaml", [own])
    services.blobs.write("datasets/claims/eval.jsonl", [ROW])
    create(ai, training, suffix="claims")
    assert recipe(services, receive(services)) == {
        "base_model": BASE,
        "deployment": {"approval": "required"},
        "method": {"type": "supervised", "hyperparameters": {}},
    }
    assert b"".join(services.blobs.read("datasets/claims/recipe.yaml")) == own


def test_a_projects_recipe_that_cannot_be_read_is_said(ai: OpenAI, training: str, services: Services) -> None:
    services.blobs.write("datasets/claims/recipe.yaml", [b"color: red\n"])
    with pytest.raises(openai.BadRequestError) as refused:
        create(ai, training, suffix="claims")
    assert (refused.value.code, refused.value.param) == ("project_recipe", "suffix")


def test_two_jobs_of_one_file_are_two_runs(ai: OpenAI, training: str, services: Services) -> None:
    ids, runs = set(), []
    for _ in range(2):
        ids.add(create(ai, training).id)
        runs.append(receive(services))
    assert {run.id for run in runs} == ids
    assert [run.status for run in runs] == [Status.RECEIVED, Status.RECEIVED]
    assert len(ids) == 2


def test_the_rate_is_a_multiple_of_the_base_models_own(ai: OpenAI, training: str, services: Services) -> None:
    create(ai, training, hyperparameters={"learning_rate_multiplier": 0.5})
    parameters = recipe(services, receive(services))["method"]["hyperparameters"]
    assert parameters == {"learning_rate": 0.5 * find_entry(BASE).defaults.learning_rate}


def test_preferences_and_rewards_are_methods_too(ai: OpenAI, training: str, services: Services) -> None:
    create(ai, training, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}})
    assert recipe(services, receive(services))["method"] == {"type": "dpo", "hyperparameters": {"beta": 0.2}}
    grader = {
        "type": "text_similarity",
        "name": "close",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.wanted }}",
        "evaluation_metric": "fuzzy_match",
    }
    create(ai, training, method={"type": "reinforcement", "reinforcement": {"grader": grader}})
    assert recipe(services, receive(services))["method"]["graders"] == [grader]


@pytest.mark.parametrize(
    ("parameters", "status", "code", "param"),
    [
        ({"model": "gpt-4o-mini"}, 400, "model_not_found", "model"),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct"}, 400, "license_needs_use_case", "metadata"),
        ({"training_file": "file-0"}, 404, "file_not_found", "training_file"),
        ({"validation_file": "../eval"}, 404, "file_not_found", "validation_file"),
        ({"suffix": "My Model"}, 400, "bad_request", "suffix"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "bad_request", "integrations"),
        ({"extra_body": {"color": "red"}}, 400, "bad_request", "color"),
        ({"hyperparameters": {"n_epochs": 99}}, 400, "invalid_value", "method.supervised.hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 99}}}}, 400, "invalid_value",
         "method.dpo.hyperparameters.beta"),
        ({"hyperparameters": {"n_epochs": "many"}}, 400, "bad_request", "hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "supervised": {}}}, 400, "bad_request", "method"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "label_model", "name": "j"}}}}, 400,
         "invalid_value", "method.reinforcement.grader"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"name": "exact"}, "hyperparameters":
         {"eval_samples": 3}}}}, 400, "bad_request", "method.reinforcement.hyperparameters.eval_samples"),
    ],
)  # fmt: skip
def test_what_a_job_cannot_have_is_refused_by_name(
    ai: OpenAI, training: str, services: Services, parameters: dict[str, Any], status: int, code: str, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        ai.fine_tuning.jobs.create(**{"training_file": training, "model": BASE, **parameters})
    assert (refused.value.status_code, refused.value.code, refused.value.param) == (status, code, param)
    assert refused.value.type == "invalid_request_error"
    assert take(services, "storage-events") == []


ENDS: dict[Status, tuple[dict[str, Any], str, str | None, str | None]] = {
    Status.FAILED: (
        {
            "error": RunError(
                failure_class=FailureClass.QUOTA, problem=Problem(code="OutOfQuota", message="no cores", param="x")
            )
        },
        "failed",
        "OutOfQuota",
        "x",
    ),
    Status.REJECTED: ({}, "failed", "invalid_validation_file", "validation_file"),
    Status.DECLINED: (
        {"verdict": Verdict(passed=False, checks=(GateCheck(name="min_score", passed=False, detail="0.1"),))},
        "failed",
        "declined",
        None,
    ),
    Status.ROLLED_BACK: ({}, "failed", "rolled_back", None),
    Status.DUPLICATE: ({}, "failed", "duplicate", "training_file"),
    Status.CANCELLED: ({}, "cancelled", None, None),
    Status.DEPLOYED: ({}, "succeeded", None, None),
}
RESOLVED = resolve(Recipe(base_model=BASE), "claims", train_rows=100, characters_max=100)
METRICS = JobMetrics(
    processed_tokens=900, last_step=40, train_loss=0.3, eval_loss=0.4, seconds=9, dropped_rows=0, best_step=30
)


def write_report(services: Services, run: Run) -> None:
    findings = Findings(ALL_CODES)
    findings.add("invalid_json", "eval", 3)
    report = Report(passed=False, format="chat", problems=findings.problems(), eval_source="file")
    write_model(services.blobs, paths.report(run.id), report)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_end_is_an_end_there(
    ai: OpenAI, training: str, services: Services, clock: SettableClock, status: Status
) -> None:
    clock.moment = clock.now()
    changes, expected, code, param = ENDS[status]
    created = create(ai, training, suffix="claims")
    run = receive(services)
    write_report(services, run)
    ended = enter(services, run, status, training=METRICS, **changes)
    job = ai.fine_tuning.jobs.retrieve(created.id)
    assert job.status == expected
    assert job.finished_at == int(ended.updated_at.timestamp())
    assert job.trained_tokens == 900
    assert job.fine_tuned_model == ("claims" if expected == "succeeded" else None)
    assert (job.error.code if job.error else None, job.error.param if job.error else None) == (code, param)


@pytest.mark.parametrize("status", [status for status in Status if status not in TERMINAL])
def test_what_goes_on_is_validating_queued_or_running(
    ai: OpenAI, training: str, services: Services, status: Status
) -> None:
    created = create(ai, training)
    enter(services, receive(services), status, recipe=RESOLVED)
    job = ai.fine_tuning.jobs.retrieve(created.id)
    assert job.status == STATUS.get(status, "running")
    assert (job.finished_at, job.fine_tuned_model, job.trained_tokens, job.error) == (None, None, None, None)
    assert {name for name, there in STATUS.items() if there in ("validating_files", "queued")} == {
        Status.RECEIVED,
        Status.VALIDATING,
        Status.VALIDATED,
    }


def test_the_end_of_a_training_is_told_by_its_own_estimate_and_left_out_when_nobody_answers(
    ai: OpenAI, training: str, services: Services, curves: JobCurves
) -> None:
    created = create(ai, training)
    run = receive(services)
    job = JobRef(name=f"{run.id}-training-1", kind=JobKind.TRAINING, attempt=1, submitted_at=services.clock.now())
    enter(services, run, Status.TRAINING, recipe=RESOLVED, jobs=(job,))
    logged = {"step_total": MetricPoint(step=1, value=40, at=1), "eta_s": MetricPoint(step=9, value=120, at=1)}
    curves.of = lambda key: [logged[key]]
    finish = ai.fine_tuning.jobs.retrieve(created.id).estimated_finish
    assert finish is not None
    assert 115 <= finish - services.clock.now().timestamp() <= 121

    def away(key: str) -> list[MetricPoint]:
        raise Transient("away", "nobody answers")

    curves.of = away
    job_now = ai.fine_tuning.jobs.retrieve(created.id)
    assert (job_now.status, job_now.estimated_finish) == ("running", None)


def test_a_person_who_declines_is_named_with_the_reason(ai: OpenAI, training: str, services: Services) -> None:
    created = create(ai, training)
    decision = Decision(granted=False, by="grace", at=services.clock.now(), comment="too terse")
    enter(services, receive(services), Status.DECLINED, decision=decision)
    error = ai.fine_tuning.jobs.retrieve(created.id).error
    assert error is not None
    assert (error.code, error.message) == ("declined", "declined by grace: too terse")


def test_an_order_that_was_lost_fails_instead_of_waiting_for_ever(
    ai: OpenAI, training: str, clock: SettableClock
) -> None:
    created = create(ai, training)
    clock.moment = clock.now() + timedelta(hours=1)
    job = ai.fine_tuning.jobs.retrieve(created.id)
    assert (job.status, job.error and job.error.code) == ("failed", "not_received")


def test_jobs_are_listed_newest_first_in_pages_and_by_metadata(ai: OpenAI, training: str, client: TestClient) -> None:
    ids = [create(ai, training, metadata={"team": str(number % 2)}).id for number in range(3)][::-1]
    first = ai.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in first.data], first.has_more) == (ids[:2], True)
    assert [job.id for job in first] == ids, "the client asks for the next page"
    assert [job.id for job in ai.fine_tuning.jobs.list(metadata={"team": "1"})] == [ids[1]]
    with pytest.raises(openai.BadRequestError) as refused:
        ai.fine_tuning.jobs.list(after="run-gone")
    assert (refused.value.code, refused.value.param) == ("unknown_cursor", "after")
    assert client.get("/v1/fine_tuning/jobs", params={"limit": 1}).json()["last_id"] == ids[0]


def test_events_are_those_of_the_run_newest_first(ai: OpenAI, training: str, services: Services) -> None:
    job = create(ai, training)
    assert list(ai.fine_tuning.jobs.list_events(job.id)) == []
    run = receive(services)
    run = enter(services, run, Status.REJECTED, events=(Draft(ValidationFailed(codes=("x",), errors=1, report="r")),))
    events = list(ai.fine_tuning.jobs.list_events(job.id, limit=1))
    assert [(event.level, event.message, event.type) for event in events] == [
        ("error", "Validation failed", "message"),
        ("info", "Dataset uploaded", "message"),
    ]
    assert events[1].data["sha256"] == run.dataset.sha256  # type: ignore[index]


def test_the_checkpoint_is_the_one_that_became_the_model(ai: OpenAI, training: str, services: Services) -> None:
    job = create(ai, training, suffix="claims")
    assert list(ai.fine_tuning.jobs.checkpoints.list(job.id)) == []
    enter(services, receive(services), Status.EVALUATING, training=METRICS, recipe=RESOLVED)
    (checkpoint,) = ai.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.step_number == 30
    assert checkpoint.fine_tuned_model_checkpoint == f"claims:{job.id.removeprefix('run-')}"
    assert (checkpoint.metrics.train_loss, checkpoint.metrics.valid_loss) == (0.3, 0.4)


def test_a_cancel_asks_and_an_end_stays_an_end(ai: OpenAI, training: str, services: Services) -> None:
    job = create(ai, training)
    with pytest.raises(openai.ConflictError) as early:
        ai.fine_tuning.jobs.cancel(job.id)
    assert early.value.code == "job_not_received"
    run = receive(services)
    assert ai.fine_tuning.jobs.cancel(job.id).status == "validating_files"
    (event,) = events_at(services, "cancel_run")
    assert isinstance(event.data, CancelRequested)
    enter(services, run, Status.CANCELLED)
    with pytest.raises(openai.BadRequestError) as late:
        ai.fine_tuning.jobs.cancel(job.id)
    assert late.value.code == "job_finished"


@pytest.mark.parametrize("job_id", ["ftjob-1", "run-000000000000"])
def test_a_job_that_is_not_there_is_404(ai: OpenAI, job_id: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ai.fine_tuning.jobs.retrieve(job_id)
    assert (refused.value.code, refused.value.param) == ("job_not_found", "job_id")


def test_what_is_not_built_is_refused_not_ignored(ai: OpenAI, training: str) -> None:
    job = create(ai, training)
    with pytest.raises(openai.NotFoundError) as refused:
        ai.fine_tuning.jobs.pause(job.id)
    assert (refused.value.code, refused.value.type) == ("not_found", "invalid_request_error")


def test_a_reader_may_look_and_not_order(ai: OpenAI, training: str, client: TestClient) -> None:
    with asking_as(client, "ada", "reader"):
        assert ai.files.retrieve(training).id == training
        for order in (
            lambda: create(ai, training),
            lambda: ai.files.delete(training),
            lambda: ai.files.create(file=("train.jsonl", ROW), purpose="fine-tune"),
        ):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                order()
            assert (refused.value.code, refused.value.type) == ("role_needed", "permission_error")


def test_errors_of_the_other_routes_keep_their_form(client: TestClient) -> None:
    assert set(client.get("/api/runs/run-0").json()["error"]) == {"code", "message", "param"}
