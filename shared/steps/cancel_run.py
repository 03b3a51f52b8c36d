"""Stop a run: at once, once its job is seen stopped, or by rolling its deployment back."""

from shared.domain.errors import Problem
from shared.domain.events import CancelRequested, Event, JobStopped, RunCancelled
from shared.domain.run import Run, RunChanges, Status
from shared.ports import Services
from shared.step_support.outcome import Draft, Outcome
from shared.steps.advance_rollout import begin_rollback
from shared.steps.fail_run import stop_jobs

WITH_JOB = frozenset({Status.VALIDATING, Status.TRAINING, Status.EVALUATING})


def cancel_run(event: Event[CancelRequested | JobStopped], run: Run, services: Services) -> Outcome | None:
    if isinstance(event.data, JobStopped):
        if run.status is not Status.CANCELLING:
            return None
        stop_jobs(run, services)  # what a crash left unrecorded
        return _cancelled(run.cancel_requested_by or "unknown")
    match run.status:
        case Status.CANCELLING | Status.ROLLING_BACK:
            return None  # already on its way
        case Status.DEPLOYING:
            reason = Problem(code="cancelled", message=f"cancelled by {event.data.by}")
            return begin_rollback(event, run, reason, event.data.by).with_changes(cancel_requested_by=event.data.by)
        case status if status in WITH_JOB:
            changes, note = RunChanges(cancel_requested_by=event.data.by), f"cancelled by {event.data.by}"
            # Stopped first, its job would look like one that somebody stopped at the platform if this host died now.
            return Outcome(Status.CANCELLING, changes, note=note, after=lambda: stop_jobs(run, services))
        case _:
            stop_jobs(run, services)
            return _cancelled(event.data.by)


def _cancelled(by: str) -> Outcome:
    return Outcome(
        status=Status.CANCELLED,
        changes={"cancel_requested_by": by},
        events=(Draft(RunCancelled(by=by)),),
        note=f"cancelled by {by}",
    )
