"""Which attempt of a stage comes next, and whether there is one."""

from datetime import datetime, timedelta
from itertools import takewhile

from shared.domain.errors import RETRY_RULES
from shared.domain.events import (
    DeploymentRetryDue,
    EvaluationRetryDue,
    Event,
    EventData,
    JobFailed,
    RetryDue,
    RunOverdue,
    StageRefused,
    TrainingRetryDue,
    ValidationRetryDue,
)
from shared.domain.jobs import JobKind
from shared.domain.run import Run, Status, Transition

# Of a job: what the platform stops by itself (a spot machine, a time limit) fails, or names an error.
BY_A_PERSON = "job_cancelled"

RETRY_OF_STAGE: dict[str, type[RetryDue]] = {
    "validate_dataset": ValidationRetryDue,
    "conclude_validation": ValidationRetryDue,  # its job again: one answer of 403 must not lose a run
    "submit_training": TrainingRetryDue,
    "submit_evaluation": EvaluationRetryDue,
    "apply_gate": EvaluationRetryDue,
    "deploy_model": DeploymentRetryDue,
}
RETRY_OF_JOB: dict[JobKind, type[RetryDue]] = {
    JobKind.VALIDATION: ValidationRetryDue,
    JobKind.TRAINING: TrainingRetryDue,
    JobKind.EVALUATION: EvaluationRetryDue,
}


def next_attempt(event: Event[EventData], run: Run, kind: JobKind) -> int:
    """The first number no job of this kind has yet; a retry may name a later one, where nothing was submitted."""
    free = 1 + max((job.attempt for job in run.jobs if job.kind is kind), default=0)
    return max(free, event.attempt) if isinstance(event.data, RetryDue) else free


def retry_after(
    event: Event[JobFailed | StageRefused | RunOverdue], run: Run, wait_s: float
) -> tuple[type[RetryDue], timedelta] | None:
    """The event that starts the next attempt and when it is due; None if this failure is final."""
    failure = event.data
    if isinstance(failure, RunOverdue) or failure.problem.code == BY_A_PERSON:
        return None
    of_job = (RETRY_OF_JOB[job.kind] for job in run.jobs if job.name == getattr(failure, "job", None))
    retry = RETRY_OF_STAGE.get(failure.stage) if isinstance(failure, StageRefused) else next(of_job, None)
    rule = RETRY_RULES[failure.failure_class]
    waited = max(timedelta(0), event.time - entered_at(run, event.time)) / timedelta(seconds=wait_s)
    if retry is None or (waited >= rule.lasts if rule.lasts else run.attempt >= rule.attempts):
        return None
    wait = max(rule.first_wait, waited) if rule.lasts else rule.first_wait * 2 ** (run.attempt - 1)
    return retry, timedelta(seconds=wait_s * min(wait, rule.longest_wait))


def entered_at(run: Run, now: datetime) -> datetime:
    """When the run entered its status; of a salvaged run no line of history is known."""
    return min((line.at for line in in_this_status(run)), default=now)


def in_this_status(run: Run) -> list[Transition]:
    """The lines of history since the run entered its status, the newest first, and of deployments without quota."""
    return list(takewhile(lambda line: line.status in (run.status, Status.DEPLOYING), reversed(run.history)))
