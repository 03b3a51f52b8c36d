"""Which attempt of a stage comes next, and whether there is one."""

from datetime import datetime, timedelta
from itertools import takewhile

from shared.domain import events
from shared.domain.errors import RETRY_RULES
from shared.domain.jobs import JobKind
from shared.domain.run import Run, Status, Transition

# Of a job: what the platform stops by itself (a spot machine, a time limit) fails, or names an error.
BY_A_PERSON = "job_cancelled"

RETRY_OF_STAGE: dict[str, type[events.RetryDue]] = {
    "validate_dataset": events.ValidationRetryDue,
    "conclude_validation": events.ValidationRetryDue,  # its job again: one answer of 403 must not lose a run
    "submit_training": events.TrainingRetryDue,
    "submit_evaluation": events.EvaluationRetryDue,
    "apply_gate": events.EvaluationRetryDue,
    "deploy_model": events.DeploymentRetryDue,
}
RETRY_OF_JOB: dict[JobKind, type[events.RetryDue]] = {
    JobKind.VALIDATION: events.ValidationRetryDue,
    JobKind.TRAINING: events.TrainingRetryDue,
    JobKind.EVALUATION: events.EvaluationRetryDue,
}


def next_attempt(event: events.Event[events.EventData], run: Run, kind: JobKind) -> int:
    """The first number no job of this kind has yet; a retry may name a later one, where nothing was submitted."""
    free = 1 + max((job.attempt for job in run.jobs if job.kind is kind), default=0)
    return max(free, event.attempt) if isinstance(event.data, events.RetryDue) else free


def retry_after(
    event: events.Event[events.JobFailed | events.StageRefused | events.RunOverdue], run: Run, wait_s: float
) -> tuple[type[events.RetryDue], timedelta] | None:
    """The event that starts the next attempt and when it is due; None if this failure is final."""
    failure = event.data
    if isinstance(failure, events.RunOverdue) or failure.problem.code == BY_A_PERSON:
        return None
    of_job = (RETRY_OF_JOB[job.kind] for job in run.jobs if job.name == getattr(failure, "job", None))
    retry = RETRY_OF_STAGE.get(failure.stage) if isinstance(failure, events.StageRefused) else next(of_job, None)
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
