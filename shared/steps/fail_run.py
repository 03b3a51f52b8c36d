"""A stage failed: undo what is in flight, then try again where the failure's class allows, or fail the run."""

import logging
from datetime import datetime, timedelta
from itertools import product, takewhile

from shared.domain import events, paths
from shared.domain.errors import (
    RETRY_RULES,
    DroptuneError,
    FailureClass,
    LaterVersion,
    Problem,
    Transient,
    ascii_traceback,
)
from shared.domain.events import Event, JobFailed, QuotaMissing, RunFailed, RunOverdue, StageRefused
from shared.domain.jobs import EndpointView, JobKind
from shared.domain.run import Run, RunError, Status, Transition
from shared.ports import RunStore, Services
from shared.records import budget, claims, endpoints
from shared.records.runs import ttl_s
from shared.step_support.dataset_files import needs_validation_job
from shared.step_support.loops import for_each
from shared.step_support.outcome import Draft, Outcome

log = logging.getLogger(__name__)

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


def fail_run(event: Event[JobFailed | StageRefused | RunOverdue], run: Run, services: Services) -> Outcome:
    failure_class, problem = _reason(event)
    retry = retry_after(event, run, services.config.retry_wait_s)
    stop_jobs(run, services, ends=retry is None)
    if retry is not None:
        if run.status is Status.APPROVED and run.recipe:  # production can be rolled back meanwhile
            services.models.begin_delete_deployment(run.recipe.endpoint, paths.deployment_name(run.id))
            claims.release(services.store, claims.endpoint_claim(run.recipe.endpoint), run.id)
        retry_due, delay = retry
        no_quota, lines = failure_class is FailureClass.QUOTA, in_this_status(run)
        facts = [Draft(retry_due(failure_class=failure_class, problem=problem), delay=delay)]
        if no_quota and not any(line.note.startswith(f"{failure_class.value}: ") for line in lines):
            lasts = timedelta(seconds=RETRY_RULES[failure_class].lasts * services.config.retry_wait_s)
            facts.append(Draft(QuotaMissing(problem=problem, until=entered_at(run, event.time) + lasts)))
        submitted = not (no_quota and isinstance(event.data, StageRefused))  # else there was no attempt
        return Outcome(
            status=run.status,
            changes={"attempt": run.attempt + submitted},
            events=tuple(facts),
            note=f"{failure_class.value}: {problem.code}, again in {delay.total_seconds():g} s: {problem.message}",
        )
    return Outcome(
        status=Status.FAILED,
        changes={"error": RunError(failure_class=failure_class, problem=problem)},
        events=(Draft(RunFailed(failure_class=failure_class, problem=problem)),),
        note=f"{failure_class.value}: {problem.code}",
    )


# Whether there is another attempt of the stage, and when.


def retry_after(
    event: Event[JobFailed | StageRefused | RunOverdue], run: Run, wait_s: float
) -> tuple[type[events.RetryDue], timedelta] | None:
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


# Which job may have been submitted by a handler that died before it could write so.
NEXT_JOB = {
    Status.RECEIVED: (JobKind.VALIDATION,),
    Status.VALIDATING: (JobKind.VALIDATION,),
    Status.VALIDATED: (JobKind.TRAINING,),
    Status.TRAINING: (JobKind.TRAINING, JobKind.EVALUATION),
    Status.TRAINED: (JobKind.EVALUATION,),
    Status.EVALUATING: (JobKind.EVALUATION,),
    Status.APPROVED: (JobKind.EVALUATION,),
    Status.CANCELLING: tuple(JobKind),
}


def undo_work(run: Run, endpoint: str | None, services: Services) -> None:
    """Stop a finished run's jobs and take its deployment out of the endpoint. Repeating it is harmless.

    Done by `reconcile` while the run still holds its claims, after its end is written: before that, somebody
    else may yet decide otherwise. Names are made of the run's id, so what a crash left unrecorded is found too, and
    what a repaired run does not know any more.
    """
    stop_jobs(run, services)
    name, view = paths.deployment_name(run.id), services.models.get_endpoint(endpoint) if endpoint else None
    if endpoint is None or view is None or name not in view.deployments:
        return
    endpoints.withdraw(services.store, endpoint, run.id)
    if name in view.traffic:
        services.models.begin_traffic(endpoint, _traffic_before(run, view, services))
    services.models.begin_delete_deployment(endpoint, name)


def _traffic_before(run: Run, view: EndpointView, services: Services) -> dict[str, int]:
    """If the run does not know it any more: all for the deployment on record, else for the largest of the others."""
    previous = run.rollout.previous if run.rollout else {}
    if previous.keys() <= set(view.deployments) and sum(previous.values()) == 100:
        return previous
    record = endpoints.read(services.store, view.name)
    if record is not None and record.deployment in view.deployments:
        return {record.deployment: 100}
    others = {name: share for name, share in view.traffic.items() if name != paths.deployment_name(run.id)}
    return {max(others, key=lambda name: others[name]): 100} if others else {}


def stop_unknown_jobs(run: Run, services: Services) -> None:
    """Stop every job that a run may have, known to it or not. Raises Transient `job_not_stopped` after all others."""
    attempts = range(1, 1 + max(run.attempt, *(rule.attempts for rule in RETRY_RULES.values())))
    names = [paths.job_name(run.evolve(attempt=attempt), kind) for kind, attempt in product(JobKind, attempts)]
    if left := for_each("jobs to stop", names, services.launcher.begin_cancel).failed:
        raise Transient("job_not_stopped", f"{', '.join(left)} may still run: {next(iter(left.values()))}", run.id)


def stop_jobs(run: Run, services: Services, ends: bool = True) -> None:
    """As far as fields and platform let that be. If the run `ends`, what fails is left to `reconcile`."""
    try:
        if run.job is not None:
            services.launcher.begin_cancel(run.job.name)
        for kind in NEXT_JOB.get(run.status, ()):
            if run.status is Status.RECEIVED and not needs_validation_job(run, services):
                continue  # the function validates it
            attempt = 1 + max((job.attempt for job in run.jobs if job.kind is kind), default=0)
            services.launcher.begin_cancel(paths.job_name(run.evolve(attempt=max(attempt, run.attempt)), kind))
    except Exception as error:
        if not ends and isinstance(error, Transient | LaterVersion):
            raise
        trace = "" if isinstance(error, DroptuneError) else ascii_traceback(error)
        log.error("could not stop the jobs of %s: %s%s", run.id, error, trace)
        if ends:
            claims.take(services.store, f"jobs:{run.id}", run.id, services.clock.now())


def _reason(event: Event[JobFailed | StageRefused | RunOverdue]) -> tuple[FailureClass, Problem]:
    if isinstance(event.data, RunOverdue):
        message = f"{event.data.status} was to end by {event.data.deadline_at.isoformat(timespec='seconds')}"
        return FailureClass.PLATFORM, Problem(code="overdue", message=message)
    return event.data.failure_class, event.data.problem


# Ends after which the same data may be dropped again and starts a new run: they say nothing about it.
RELEASING = frozenset({Status.FAILED, Status.CANCELLED, Status.ROLLED_BACK})


def release(store: RunStore, run: Run, now: datetime) -> None:
    """Everything a finished run holds. What a crash leaves here, `reconcile` releases.

    One that was not deployed may have left a deployment: its endpoint is given back once that is gone.
    """
    release_dataset(store, run, now)
    if run.recipe is None:
        return
    claims.release(store, claims.turn_claim(run.recipe.endpoint), run.id)
    if run.status not in RELEASING:
        claims.release(store, claims.endpoint_claim(run.recipe.endpoint), run.id)


def release_dataset(store: RunStore, run: Run, now: datetime) -> None:
    """What is left of a finished run's budget, then its claim on the data: `reconcile` looks for claims."""
    budget.settle(store, run)
    name = claims.dataset_claim(run.project, run.dataset.sha256, run.fingerprint)
    if run.status in RELEASING:
        claims.release(store, name, run.id)
    else:
        claims.take(store, name, run.id, now)  # free if the run that held it failed
        claims.settle(store, name, run.id, ttl_s(run))
