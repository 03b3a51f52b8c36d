"""What is said about a job: state of the job at the platform x its result file -> event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.errors import FailureClass, Problem
from shared.domain.events import (
    EvaluationCompleted,
    EventData,
    JobFailed,
    JobStopped,
    TrainingCompleted,
    ValidationCompleted,
)
from shared.domain.jobs import JobKind, JobStatus, JobView
from shared.domain.results import JobMetrics, JobResult
from shared.domain.run import JobRef, Run, Status
from shared.ports import Services
from shared.records.blob_documents import write_model
from shared.runner import Runner
from shared.steps.inspect_job import RESULTS, inspect_job
from tests.unit.shared.support import drop
from training_job.job.runtime import RunningMetrics, run_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "run-000000000000-job-1"
STATUS = {
    JobKind.VALIDATION: Status.VALIDATING,
    JobKind.TRAINING: Status.TRAINING,
    JobKind.EVALUATION: Status.EVALUATING,
}
METRICS = JobMetrics(seconds=60.0, processed_tokens=1000, train_loss=0.5, eval_loss=0.75)
OUT_OF_MEMORY = Problem(code="out_of_memory", message="CUDA out of memory", param="micro_batch_size")

COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED
UNFINISHED = [status for status in JobStatus if not status.final]


class Platform:
    """Knows one job, or none."""

    def __init__(self, view: JobView | None) -> None:
        self.view = view
        self.cancelled: list[str] = []

    def get_job(self, name: str) -> JobView | None:
        assert name == NAME
        return self.view

    def begin_cancel(self, name: str) -> None:
        self.cancelled.append(name)


def completed(job: str = NAME) -> JobResult:
    return JobResult(job=job, status="completed", metrics=METRICS, finished_at=NOW)


def failed(job: str = NAME) -> JobResult:
    return JobResult(job=job, status="failed", failure_class=FailureClass.DATA, problem=OUT_OF_MEMORY, finished_at=NOW)


def view(status: JobStatus, **error: Any) -> JobView:
    return JobView(name=NAME, status=status, **error)


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created


def with_job(run: Run, kind: JobKind = JobKind.TRAINING, attempt: int = 1, **changes: Any) -> Run:
    job = JobRef(name=NAME, kind=kind, attempt=attempt, submitted_at=NOW)
    return run.evolve(**{"status": STATUS[kind], "jobs": (job,), **changes})


def seen(run: Run, services: Services, view: JobView | None, result: JobResult | None) -> EventData | None:
    assert run.job is not None
    if result is not None:
        write_model(services.blobs, paths.run(run.id, RESULTS[run.job.kind]), result)
    draft = inspect_job(NAME, run, replace(services, launcher=Platform(view)))  # type: ignore[arg-type]
    assert draft is None or draft.key == ""
    return draft.data if draft else None


def failure(failure_class: FailureClass, code: str) -> tuple[FailureClass, str]:
    return failure_class, code


BUDGET, PLATFORM, CODE, DATA, CAPACITY = (
    FailureClass.BUDGET,
    FailureClass.PLATFORM,
    FailureClass.CODE,
    FailureClass.DATA,
    FailureClass.CAPACITY,
)
EVICTED = {"failure_class": CAPACITY, "error_code": "evicted", "error_message": "the spot machine was taken back"}
EXITED = {"failure_class": CODE, "error_code": "UserError", "error_message": "ExecutionFailed"}
TIMED_OUT = {"failure_class": BUDGET, "error_code": "timeout", "error_message": "time limit reached"}

INTERRUPTED = failed().model_copy(
    update={"failure_class": PLATFORM, "problem": Problem(code="interrupted", message="stopped by SIGTERM")}
)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("kind", JobKind)
@pytest.mark.parametrize(
    ("at_platform", "result", "expected"),
    [
        pytest.param(None, None, (PLATFORM, "job_vanished"), id="vanished"),
        pytest.param(None, completed(), (PLATFORM, "job_vanished"), id="vanished with a result"),
        pytest.param(view(COMPLETED), None, (CODE, "no_result"), id="completed without a result"),
        pytest.param(view(COMPLETED), completed("earlier"), (CODE, "no_result"), id="completed, earlier job's result"),
        pytest.param(view(COMPLETED), failed(), (DATA, "out_of_memory"), id="completed, the result says failed"),
        pytest.param(view(FAILED), failed(), (DATA, "out_of_memory"), id="failed, the result says why"),
        pytest.param(view(FAILED, **EVICTED), failed(), (DATA, "out_of_memory"), id="failed, the result comes first"),
        pytest.param(view(FAILED, **EVICTED), None, (CAPACITY, "evicted"), id="failed, the platform says why"),
        pytest.param(view(FAILED, **EVICTED), failed("earlier"), (CAPACITY, "evicted"), id="failed, earlier result"),
        pytest.param(view(FAILED, **EVICTED), completed(), (CAPACITY, "evicted"), id="failed after its result"),
        pytest.param(view(FAILED), None, (PLATFORM, "job_failed"), id="failed, no reason"),
        pytest.param(view(FAILED, **EVICTED), INTERRUPTED, (CAPACITY, "evicted"), id="evicted with a warning"),
        pytest.param(view(FAILED, **TIMED_OUT), INTERRUPTED, (BUDGET, "timeout"), id="stopped by its time limit"),
        pytest.param(view(FAILED, **EXITED), INTERRUPTED, (PLATFORM, "interrupted"), id="interrupted, exit code 143"),
        pytest.param(view(FAILED), INTERRUPTED, (PLATFORM, "interrupted"), id="interrupted, no reason"),
        pytest.param(view(COMPLETED), INTERRUPTED, (PLATFORM, "interrupted"), id="completed though interrupted"),
        pytest.param(view(CANCELLED), None, (PLATFORM, "job_cancelled"), id="cancelled by somebody"),
        pytest.param(view(CANCELLED), failed(), (PLATFORM, "job_cancelled"), id="cancelled, interrupted result"),
        pytest.param(view(CANCELLED), completed(), (PLATFORM, "job_cancelled"), id="cancelled after its result"),
        pytest.param(view(CANCELLED, **TIMED_OUT), None, (BUDGET, "timeout"), id="cancelled by its time limit"),
    ],
)
def test_a_job_that_ended_without_its_result_failed(
    run: Run,
    services: Services,
    kind: JobKind,
    at_platform: JobView | None,
    result: JobResult | None,
    expected: tuple[FailureClass, str],
) -> None:
    event = seen(with_job(run, kind), services, at_platform, result)
    assert isinstance(event, JobFailed)
    assert (event.job, event.failure_class, event.problem.code) == (NAME, *expected)


@pytest.mark.parametrize("kind", JobKind)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({}, "cancelled at the platform, not by Droptune"),
        (
            {"error_message": "its run history was last changed by Ada"},
            "cancelled at the platform, not by Droptune; its run history was last changed by Ada",
        ),
    ],
)
def test_who_canceled_a_job_is_passed_on(
    run: Run, services: Services, kind: JobKind, error: dict[str, str], message: str
) -> None:
    event = seen(with_job(run, kind), services, view(CANCELLED, **error), INTERRUPTED)
    assert isinstance(event, JobFailed)
    assert event.problem == Problem(code="job_cancelled", message=message, param=NAME)


@pytest.mark.parametrize("content", [b"", b'{"job": ', b"[]", b"[" * 100_000, b"null", b"\xff\xfe", b"{}"])
def test_a_result_that_is_cut_off_or_no_result_leaves_no_job_without_an_end(
    run: Run, services: Services, content: bytes
) -> None:
    trained = with_job(run)
    services.blobs.write(paths.run(run.id, "result.json"), [content])
    for ended, expected in (
        (view(COMPLETED), (CODE, "unreadable_document")),
        (view(FAILED, **EVICTED), (CAPACITY, "evicted")),
        (view(CANCELLED), (PLATFORM, "job_cancelled")),
    ):
        event = seen(trained, services, ended, None)
        assert isinstance(event, JobFailed)
        assert (event.failure_class, event.problem.code) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (JobKind.VALIDATION, ValidationCompleted(job=NAME)),
        (
            JobKind.TRAINING,
            TrainingCompleted(job=NAME, train_loss=0.5, eval_loss=0.75, processed_tokens=1000, seconds=60.0),
        ),
        (JobKind.EVALUATION, EvaluationCompleted(job=NAME)),
    ],
)
def test_a_job_that_completed_with_its_result_is_said_to_have(
    run: Run, services: Services, kind: JobKind, expected: EventData
) -> None:
    assert seen(with_job(run, kind), services, view(COMPLETED), completed()) == expected


def test_the_reason_of_the_result_is_passed_on_whole(run: Run, services: Services) -> None:
    event = seen(with_job(run), services, view(FAILED), failed())
    assert event == JobFailed(job=NAME, failure_class=FailureClass.DATA, problem=OUT_OF_MEMORY)


@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("result", [None, completed(), failed()], ids=["no result", "completed", "failed"])
def test_nothing_is_said_while_a_job_goes_on(
    run: Run, services: Services, status: JobStatus, result: JobResult | None
) -> None:
    assert seen(with_job(run), services, view(status), result) is None


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("at_platform", [None, *map(view, (COMPLETED, FAILED, CANCELLED))], ids=str)
@pytest.mark.parametrize("result", [None, completed(), failed()], ids=["no result", "completed", "failed"])
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_of_a_run_that_is_being_cancelled_has_stopped_however_it_ended(
    run: Run, services: Services, at_platform: JobView | None, result: JobResult | None, attempt: int
) -> None:
    cancelling = with_job(run, status=Status.CANCELLING, attempt=attempt)
    assert seen(cancelling, services, at_platform, result) == JobStopped(job=NAME)


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_job_of_a_cancelled_run_is_stopped_again_until_the_platform_stops_it(
    run: Run, services: Services, status: JobStatus
) -> None:
    platform = Platform(view(status))
    ports = replace(services, launcher=platform)  # type: ignore[arg-type]
    assert inspect_job(NAME, with_job(run, status=Status.CANCELLING), ports) is None
    next_jobs = [f"{run.id}-{name}" for name in ("validation-1", "training-2", "evaluation-1")]  # maybe unrecorded
    assert platform.cancelled == ([] if status is JobStatus.CANCELLING else [NAME, *next_jobs])


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", sorted(set(Status) - {*STATUS.values(), Status.CANCELLING}))
def test_a_job_of_a_run_that_waits_for_none_is_not_asked_for(run: Run, services: Services, status: Status) -> None:
    assert seen(with_job(run, status=status), services, view(FAILED), failed()) is None


def test_the_job_of_an_earlier_attempt_is_not_asked_for(run: Run, services: Services) -> None:
    assert seen(with_job(run, attempt=1), services, view(FAILED), failed()) is not None
    next_attempt = with_job(run).evolve(attempt=2)
    assert seen(next_attempt, services, view(FAILED), failed()) is None


def test_a_job_that_is_not_the_runs_newest_is_not_asked_for(run: Run, services: Services) -> None:
    newer = JobRef(name="run-000000000000-job-2", kind=JobKind.TRAINING, attempt=1, submitted_at=NOW)
    trained = with_job(run)
    ports = replace(services, launcher=Platform(view(FAILED)))  # type: ignore[arg-type]
    assert inspect_job(NAME, trained, ports) is not None
    assert inspect_job(NAME, trained.evolve(jobs=(*trained.jobs, newer)), ports) is None
    assert inspect_job(NAME, trained.evolve(jobs=()), ports) is None


@pytest.mark.parametrize("number", ["null", "NaN", "Infinity", "-Infinity"])
def test_a_result_with_numbers_that_json_does_not_have_is_read(run: Run, services: Services, number: str) -> None:
    losses = f'"first_train_loss": {number}, "train_loss": {number}, "eval_loss": {number}'
    metrics = f'{{{losses}, "measures": {{"reward": {number}, "kl": 0.5}}}}'
    text = f'{{"job": "{NAME}", "status": "completed", "finished_at": "{NOW.isoformat()}", "metrics": {metrics}}}'
    services.blobs.write(paths.run(run.id, RESULTS[JobKind.TRAINING]), [text.encode()])
    found = seen(with_job(run), services, view(COMPLETED), None)
    assert isinstance(found, TrainingCompleted)
    assert (found.train_loss, found.eval_loss) == (None, None)
    assert JobResult.model_validate_json(text).metrics == JobMetrics(measures={"kl": 0.5})


def test_a_job_writes_a_result_that_inspect_job_reads_whatever_it_measured(
    run: Run, services: Services, tmp_path: Path
) -> None:
    def work(metrics: RunningMetrics) -> None:
        metrics.train_loss = metrics.eval_loss = float("nan")
        metrics.measures |= {"reward": float("nan"), "kl": 0.5}

    run_job(NAME, tmp_path, work)
    services.blobs.write(paths.run(run.id, RESULTS[JobKind.TRAINING]), [(tmp_path / "result.json").read_bytes()])
    found = seen(with_job(run), services, view(COMPLETED), None)
    assert isinstance(found, TrainingCompleted)
    assert (found.train_loss, found.eval_loss) == (None, None)
    assert b"reward" not in (tmp_path / "result.json").read_bytes()
