"""Which attempt of a stage comes next, and whether there is one."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.errors import RETRY_RULES
from shared.domain.events import (
    DeploymentRetryDue,
    EvaluationRetryDue,
    Event,
    JobFailed,
    RetryDue,
    RunOverdue,
    StageRefused,
    TrainingRetryDue,
    ValidationRetryDue,
)
from shared.domain.run import Run

# The part of a function's or a job's name that says which stage has to run again.
RETRY_OF: dict[str, type[RetryDue]] = {
    "validate_dataset": ValidationRetryDue,
    "validation": ValidationRetryDue,
    "submit_training": TrainingRetryDue,
    "training": TrainingRetryDue,
    "submit_evaluation": EvaluationRetryDue,
    "evaluation": EvaluationRetryDue,
    "deploy_model": DeploymentRetryDue,
}


def next_attempt(event: Event, run: Run, stage: str) -> int:
    """The first number no job of the stage has yet; a retry may name a later one, where nothing was submitted."""
    free = 1 + max((job.attempt for job in run.jobs if job.stage == stage), default=0)
    return max(free, event.attempt) if isinstance(event, RetryDue) else free


def retry_after(
    event: JobFailed | StageRefused | RunOverdue, run: Run, wait_s: float
) -> tuple[type[RetryDue], timedelta] | None:
    """The event that starts the next attempt and when it is due; None if this failure is final."""
    if isinstance(event, RunOverdue):
        return None
    stage = event.stage if isinstance(event, StageRefused) else _stage_of_job(event.job, run)
    rule = RETRY_RULES[event.failure_class]
    if stage not in RETRY_OF or run.attempt >= rule.attempts:
        return None
    return RETRY_OF[stage], timedelta(seconds=wait_s * rule.first_wait * 2 ** (run.attempt - 1))


def _stage_of_job(name: str, run: Run) -> str:
    return next((job.stage for job in run.jobs if job.name == name), "")
