"""Whether a failure is worth another attempt, which, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import RETRY_RULES, FailureClass, Problem
from shared.domain.events import (
    DeploymentRetryDue,
    EvaluationRetryDue,
    JobFailed,
    RetryDue,
    RunOverdue,
    StageRefused,
    TrainingRetryDue,
    ValidationPassed,
    ValidationRetryDue,
)
from shared.domain.jobs import JobKind
from shared.domain.run import JobRef, Run, Status, Transition
from shared.ports import Services
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.fail_run import retry_after
from shared.steps.submit_training import next_attempt
from tests.unit.shared.support import drop

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBLEM = Problem(code="boom", message="it broke")
RETRIED = sorted(each for each in FailureClass if RETRY_RULES[each].attempts > 1)
FINAL = sorted(set(FailureClass) - set(RETRIED))


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    """A run with two trainings and an evaluation."""
    created = drop(services, runner)
    assert created is not None
    kinds = [(JobKind.TRAINING, 1), (JobKind.TRAINING, 2), (JobKind.EVALUATION, 1)]
    jobs = [JobRef(name=f"{kind}-{attempt}", kind=kind, attempt=attempt, submitted_at=NOW) for kind, attempt in kinds]
    return created.evolve(jobs=tuple(jobs))


def refused(stage: str, failure_class: FailureClass) -> StageRefused:
    return StageRefused(stage=stage, failure_class=failure_class, problem=PROBLEM)


def failed(job: str, failure_class: FailureClass) -> JobFailed:
    return JobFailed(job=job, failure_class=failure_class, problem=PROBLEM)


def retry(
    failure: JobFailed | StageRefused | RunOverdue, run: Run, waited: timedelta = timedelta(0)
) -> tuple[type[RetryDue], timedelta] | None:
    return retry_after(event_of(run, failure, run.history[0].at + waited), run, 60)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (refused("validate_dataset", FailureClass.PLATFORM), ValidationRetryDue),
        (refused("submit_training", FailureClass.PLATFORM), TrainingRetryDue),
        (refused("submit_evaluation", FailureClass.PLATFORM), EvaluationRetryDue),
        (refused("deploy_model", FailureClass.PLATFORM), DeploymentRetryDue),
        (failed("training-2", FailureClass.PLATFORM), TrainingRetryDue),
        (failed("evaluation-1", FailureClass.PLATFORM), EvaluationRetryDue),
        (refused("advance_rollout", FailureClass.PLATFORM), None),
        (failed("job-of-another", FailureClass.PLATFORM), None),
        (RunOverdue(status=Status.TRAINING, deadline_at=NOW), None),
    ],
    ids=lambda value: getattr(value, "stage", getattr(value, "job", getattr(value, "__name__", None))),
)
def test_a_stage_or_job_that_can_be_tried_again_has_its_own_event(
    run: Run, failure: JobFailed | StageRefused | RunOverdue, expected: type[RetryDue] | None
) -> None:
    found = retry(failure, run)
    assert (found[0] if found else None) is expected


@pytest.mark.parametrize("failure_class", [one for one in RETRIED if not RETRY_RULES[one].lasts])
def test_the_wait_doubles_from_attempt_to_attempt_until_the_class_allows_none(
    run: Run, failure_class: FailureClass
) -> None:
    rule = RETRY_RULES[failure_class]
    waits = []
    for attempt in range(1, rule.attempts + 1):
        found = retry(failed("training-2", failure_class), run.evolve(attempt=attempt))
        waits.append(found[1] if found else None)
    first = timedelta(seconds=60 * rule.first_wait)
    assert waits == [*(first * 2**count for count in range(rule.attempts - 1)), None]


@pytest.mark.parametrize("failure_class", FINAL)
def test_a_failure_that_time_does_not_repair_is_final(run: Run, failure_class: FailureClass) -> None:
    assert retry(failed("training-2", failure_class), run) is None


@pytest.mark.parametrize("attempt", [1, 3, 50])
def test_quota_is_waited_for_as_long_as_a_request_for_it_takes_whatever_the_attempt(run: Run, attempt: int) -> None:
    """Two business days, and the days of a long weekend until somebody sees it."""
    run, waited, waits = run.evolve(attempt=attempt), timedelta(0), list[timedelta]()
    while found := retry(refused("submit_training", FailureClass.QUOTA), run, waited):
        waits.append(found[1])
        waited += found[1]
    assert timedelta(days=7) <= waited < timedelta(days=7, hours=12)
    assert [wait / timedelta(minutes=1) for wait in waits[:9]] == [15, 15, 30, 60, 120, 240, 480, 720, 720]
    assert max(waits) == timedelta(hours=12)


def test_only_the_time_in_the_present_status_counts_and_a_clock_that_was_set_back_waits_again(run: Run) -> None:
    def line(status: Status, hours: float) -> Transition:
        return Transition(status=status, at=NOW + timedelta(hours=hours), event_id="e", event_type="t")

    lines = (line(Status.RECEIVED, -500), line(Status.VALIDATED, 0), line(Status.VALIDATED, 1))
    run = run.evolve(status=Status.VALIDATED, history=lines)
    event = event_of(run, refused("submit_training", FailureClass.QUOTA), NOW)
    for hours, expected in ((4, 4.0), (-30, 0.25), (168, None)):
        found = retry_after(event.model_copy(update={"time": NOW + timedelta(hours=hours)}), run, 60)
        assert (found[1] / timedelta(hours=1) if found else None) == expected


@pytest.mark.parametrize("job", ["training-2", "evaluation-1"])
def test_a_job_canceled_in_the_studio_is_not_submitted_again(run: Run, job: str) -> None:
    canceled = Problem(code="job_cancelled", message="cancelled at the platform, not by Droptune")
    assert retry(failed(job, FailureClass.PLATFORM).model_copy(update={"problem": canceled}), run) is None


@pytest.mark.parametrize(
    ("kind", "requested", "attempt"),
    [
        (JobKind.VALIDATION, None, 1),
        (JobKind.TRAINING, None, 3),
        (JobKind.EVALUATION, None, 2),
        (JobKind.TRAINING, 2, 3),
        (JobKind.TRAINING, 4, 4),
    ],
)
def test_an_attempt_has_the_first_number_that_is_free_or_the_later_one_of_a_retry(
    run: Run, kind: JobKind, requested: int | None, attempt: int
) -> None:
    if requested is None:
        passed = ValidationPassed(version="v1", train_rows=1, eval_rows=1)
        assert next_attempt(event_of(run.evolve(attempt=9), passed, NOW), run, kind) == attempt
    else:
        due = TrainingRetryDue(failure_class=FailureClass.PLATFORM, problem=PROBLEM)
        assert next_attempt(event_of(run.evolve(attempt=requested), due, NOW), run, kind) == attempt
