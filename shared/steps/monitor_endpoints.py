"""How the deployments in production answer: questions of their evaluation, and all requests, as Azure Monitor has them.

Each change is said once. Where the recipe wants it, the traffic goes back to the previous deployment.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.domain.endpoint import Baseline, EndpointHealth, EndpointRecord, HealthState
from shared.domain.errors import OVERLOADED, Problem
from shared.domain.evaluation import wilson
from shared.domain.events import (
    DeploymentProbed,
    EndpointDegraded,
    EndpointDown,
    EndpointRecovered,
    RollbackRequested,
)
from shared.domain.jobs import DeploymentState, RequestStats
from shared.domain.recipe import Deployment
from shared.domain.run import RolloutRef, Run
from shared.ports import Services
from shared.records import claims, endpoints, policies, runs
from shared.step_support.outcome import Draft
from shared.step_support.policy import endpoint_owner
from shared.steps.advance_rollout import MIN_AS_EVALUATED, NOT_ANSWERING, REQUESTS_FAIL, TOO_SLOW, fault, slowest
from shared.steps.probe_deployments import ask, expected_answers

Publish = Callable[[Draft], object]

# Of requests that are looked at together: those since the last look, so that a bad minute is not found twice.
WINDOW = timedelta(minutes=5)
MEASURED_AFTER = timedelta(minutes=3)  # Azure Monitor knows a minute some minutes later
MIN_REQUESTS = 20  # fewer say nothing
MAX_FAILED = 0.05  # share of failed requests that is not noticed: the low end of its interval must be above it


class Finding(NamedTuple):
    """What one look found. `before` is at the promotion, `limit` what would just be well."""

    state: HealthState = HealthState.HEALTHY
    problem: Problem | None = None
    before: float | None = None
    now: float | None = None
    limit: float | None = None


def monitor_endpoint(record: EndpointRecord, champion: Run, services: Services, publish: Publish) -> None:
    """Look at an endpoint and keep in its record what was found. Publishes about the run in production.

    Nothing is found of one that is stopped, or that a rollout, an order or the platform changes. One that may be
    stopped as idle is asked only if others asked since: our questions would keep it.
    Raises PermanentFailure `no_evaluation`, `unreadable_evaluation`, StoreConflict if the record was replaced.
    """
    store, now, endpoint = services.store, services.clock.now(), record.endpoint
    claim = claims.endpoint_claim(endpoint)
    at_first = EndpointHealth(since=record.promoted_at, deployment=record.deployment, probed_at=record.promoted_at)
    settings, health = champion.deployment, record.health or at_first
    idle_hours = settings.idle_hours or services.config.endpoint_idle_hours
    if record.stopped or claims.read(store, claim) or (idle_hours and _may_be_idle(record, health, services, now)):
        return
    found, baseline = _probe(record, champion, settings.golden_questions, services), record.baseline
    until = now - MEASURED_AFTER
    since = max(record.promoted_at, min(health.probed_at - MEASURED_AFTER, until - WINDOW), until - timedelta(days=1))
    if found is not None and found.problem is None and since < until:
        stats = services.models.request_stats(endpoint, record.deployment, since, until)
        found = of_requests(stats, baseline)
        if baseline and baseline.requests_latency_s is None and stats.requests >= MIN_REQUESTS and not found.problem:
            baseline = baseline.model_copy(update={"requests_latency_s": stats.latency_s})
    if found is None or claims.read(store, claim):  # a change has begun meanwhile
        return
    after = health.after(found.state, found.problem, record.deployment, now)
    if after.state is not health.state:
        # Of the first of the probes that agree: after a crash between here and the write it is the same event.
        key = f"{health.probed_at.timestamp():.0f}"
        _tell(record, settings, health, after, found, services, lambda data: publish(Draft(data, key=key)))
    endpoints.write(store, record.model_copy(update={"health": after, "baseline": baseline}), replacing=record)


def _may_be_idle(record: EndpointRecord, health: EndpointHealth, services: Services, now: datetime) -> bool:
    """Whether nobody is known to have asked since our last questions; not while these have to be asked again."""
    if record.health is None or (health.found is not HealthState.HEALTHY and health.in_a_row < 2):
        return False
    since = health.probed_at.replace(second=0, microsecond=0) + timedelta(minutes=2)  # our own are over
    return since >= now or not services.models.had_requests(record.endpoint, record.deployment, since, now)


def _probe(record: EndpointRecord, run: Run, questions: int, services: Services) -> Finding | None:
    """None while the platform changes it, or gives it no machine."""
    at = services.models.get_endpoint(record.endpoint)
    view = services.models.get_deployment(record.endpoint, record.deployment)
    if at is None or view is None:
        message = "the platform has no such deployment"
        vanished = Problem(code="deployment_vanished", message=message, param=record.deployment)
        return Finding(HealthState.DOWN, vanished)
    if at.is_changing or view.state is DeploymentState.CREATING or view.instances == 0:
        return None
    expected = expected_answers(run, services.blobs, questions) if questions and run.recipe and run.curated else []
    if not expected:
        return Finding()
    names = {"endpoint": record.endpoint, "deployment": record.deployment, "model": record.model}
    rollout = RolloutRef(**names, previous={}, traffic={}, step=0)
    return checked(ask(run, rollout, at, expected, services), record.baseline)


def checked(seen: DeploymentProbed, baseline: Baseline | None) -> Finding:
    """A probe, by the rules of a rollout, compared with how the deployment answered at its promotion."""
    before_s, share = (baseline.latency_s, baseline.as_evaluated) if baseline else (None, 1.0)
    least, failed = MIN_AS_EVALUATED * share, seen.answers_failed / max(1, seen.answers_requested)
    problem = fault(seen.model_copy(update={"previous_latency_s": before_s}), least)
    if problem is None:
        return Finding()
    if seen.problem is not None and seen.problem.code == OVERLOADED:
        return Finding(HealthState.DEGRADED, Problem(code=OVERLOADED, message=problem.message), 0.0, failed, 0.0)
    if problem.code == TOO_SLOW and seen.latency_s and before_s:
        return _slow(seen.latency_s, before_s)
    if problem.code == "answers_changed":
        as_evaluated = seen.answers_as_evaluated / (seen.answers_requested - seen.answers_failed)
        return Finding(HealthState.DEGRADED, problem, share, as_evaluated, least)
    down = problem.code == NOT_ANSWERING
    return Finding(HealthState.DOWN if down else HealthState.DEGRADED, problem, 0.0, failed, 0.0)


def _slow(now_s: float, before_s: float) -> Finding:
    problem = Problem(code=TOO_SLOW, message=f"answers take {now_s:.2f} s, and took {before_s:.2f} s")
    return Finding(HealthState.DEGRADED, problem, before_s, now_s, slowest(before_s))


def of_requests(stats: RequestStats, baseline: Baseline | None) -> Finding:
    """All requests of some minutes. A few failures among few say nothing: the interval of their share decides."""
    if stats.requests < MIN_REQUESTS:
        return Finding()
    if wilson(stats.failed, stats.requests)[0] > MAX_FAILED:
        message = f"{stats.failed} of {stats.requests} requests failed"
        problem = Problem(code=REQUESTS_FAIL, message=message)
        return Finding(HealthState.DEGRADED, problem, None, stats.failed / stats.requests, MAX_FAILED)
    before_s = baseline.requests_latency_s if baseline else None
    if before_s and stats.latency_s and stats.latency_s > slowest(before_s):
        return _slow(stats.latency_s, before_s)
    return Finding()


def _tell(
    record: EndpointRecord,
    settings: Deployment,
    before: EndpointHealth,
    after: EndpointHealth,
    found: Finding,
    services: Services,
    publish: Callable[[EndpointRecovered | EndpointDegraded | EndpointDown | RollbackRequested], object],
) -> None:
    endpoint, leave = record.endpoint, record.deployment
    if after.problem is None:
        seconds = (after.since - before.since).total_seconds()
        names = {"endpoint": endpoint, "deployment": leave, "was": before.state}
        publish(EndpointRecovered(**names, probes=after.in_a_row, seconds=seconds))
        return
    owner = endpoint_owner(endpoint, policies.read(services.store).policy, services.store)
    # Its recipe does not say what happens to an endpoint of others. To be busy is not the model's fault.
    goes_back = settings.on_degraded == "roll_back" and owner == record.project and after.problem.code != OVERLOADED
    to = _way_back(record, after.probed_at, services) if goes_back else None
    kind = EndpointDown if after.state is HealthState.DOWN else EndpointDegraded
    numbers = {"before": found.before, "now": found.now, "limit": found.limit}
    names = {"endpoint": endpoint, "deployment": leave}
    publish(kind(**names, **numbers, probes=after.in_a_row, problem=after.problem, rolls_back_to=to))
    if to is not None:
        message = f"{endpoint} is {after.state} by {after.in_a_row} probes in a row: {after.problem.message}"
        reason = Problem(code=after.problem.code, message=message)
        names = {"endpoint": endpoint, "project": record.project, "deployment": leave, "to": to}
        publish(RollbackRequested(**names, by="", reason=reason))


def _way_back(record: EndpointRecord, now: datetime, services: Services) -> str | None:
    """The previous deployment, if it is still warm, no rollback has left it before, and it answers well."""
    previous = record.previous
    if previous is None or previous.left or now >= previous.keep_until:
        return None
    run = runs.load(services.store, previous.champion)
    if run is None or run.recipe is None:
        return None
    as_present = record.model_copy(update=previous.as_present())
    found = _probe(as_present, run, max(1, run.deployment.golden_questions), services)
    return previous.deployment if found is not None and found.problem is None else None
