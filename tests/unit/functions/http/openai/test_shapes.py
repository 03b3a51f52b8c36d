"""OpenAI's own client: a run in the shapes of a job, its events and its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from functions.http.openai.shapes import STATUS
from shared.domain import paths
from shared.domain.dataset import Report
from shared.domain.errors import FailureClass, Problem, Transient
from shared.domain.evaluation import GateCheck, Verdict
from shared.domain.events import ValidationFailed
from shared.domain.findings import Findings
from shared.domain.jobs import JobKind, MetricPoint
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import JobMetrics
from shared.domain.run import TERMINAL, Decision, JobRef, Run, RunError, Status
from shared.ports import Services
from shared.records.blob_documents import write_model
from shared.step_support.outcome import Draft
from shared.validation.validator import ALL_CODES
from tests.unit.functions.http.openai.support import BASE, create, receive
from tests.unit.functions.http.support import JobCurves, SettableClock, enter

if TYPE_CHECKING:
    from openai import OpenAI


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
    write_model(services.blobs, paths.run(run.id, "report.json"), report)


@pytest.mark.few_cases(3)
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


@pytest.mark.few_cases(3)
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
