"""A run cannot go on: undo what is in flight and say why. Another attempt by class is not built yet."""

from __future__ import annotations

import logging

from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.events import JobFailed, RunFailed, RunOverdue, StageRefused
from shared.domain.run import Run, RunError, Status
from shared.ports import Services
from shared.steps.outcome import Fact, Outcome

log = logging.getLogger(__name__)


def fail_run(event: JobFailed | StageRefused | RunOverdue, run: Run, services: Services) -> Outcome:
    failure_class, problem = _reason(event)
    try:
        undo_work(run, services)
    except PermanentFailure as error:
        # The run has failed all the same; its endpoint claim stays until `reconcile` has undone it.
        log.error("could not undo the work of %s: %s", run.id, error)
    return Outcome(
        status=Status.FAILED,
        changes={"error": RunError(failure_class=failure_class, problem=problem)},
        facts=(Fact(RunFailed, failure_class=failure_class, problem=problem),),
        note=f"{failure_class.value}: {problem.code}",
    )


def undo_work(run: Run, services: Services) -> None:
    """Stop the run's job and take its deployment out of the endpoint. Repeating it is harmless."""
    if run.job is not None:
        services.launcher.begin_cancel(run.job.name)
    if run.rollout is None:
        return
    endpoint = services.models.get_endpoint(run.rollout.endpoint)
    if endpoint is None or run.rollout.deployment not in endpoint.deployments:
        return
    if run.rollout.deployment in endpoint.traffic:
        services.models.begin_traffic(run.rollout.endpoint, run.rollout.previous)
    services.models.begin_delete_deployment(run.rollout.endpoint, run.rollout.deployment)


def _reason(event: JobFailed | StageRefused | RunOverdue) -> tuple[FailureClass, Problem]:
    if isinstance(event, RunOverdue):
        message = f"{event.status} was to end by {event.deadline_at.isoformat(timespec='seconds')}"
        return FailureClass.PLATFORM, Problem(code="overdue", message=message)
    return event.failure_class, event.problem
