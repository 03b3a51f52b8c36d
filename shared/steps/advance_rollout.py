"""One step of a rollout. A traffic change counts as done only once a probe shows it."""

from contextlib import suppress
from datetime import timedelta

from shared.domain.endpoint import Baseline, EndpointRecord
from shared.domain.errors import NO_MACHINE, PermanentFailure, Problem, Transient
from shared.domain.events import (
    DeploymentProbed,
    Event,
    EventData,
    ModelPromoted,
    ModelRolledBack,
    RollbackStarted,
    StageRefused,
    TrafficShifted,
)
from shared.domain.jobs import DeploymentState
from shared.domain.run import Rollback, RolloutRef, Run, RunChanges, Status
from shared.ports import Services
from shared.records import endpoints
from shared.step_support.outcome import Draft, Outcome
from shared.steps.deploy_model import require_still_right, set_autoscale

# Below 1 because kernels differ between evaluating and serving in batches; a wrong template or an
# adapter that is not applied changes nearly every answer.
MIN_AS_EVALUATED = 0.8
# Too slow is slower by this factor and by more than a person would overlook.
MAX_SLOWDOWN = 3.0
NOTICEABLE_S = 1.0
# A server that restarts, or a load balancer that learns of it late, gets this long,
UNREACHABLE_ALLOWANCE = timedelta(minutes=2)
# and less while it is given requests that the old deployment would answer.
UNREACHABLE_WITH_TRAFFIC_ALLOWANCE = timedelta(seconds=10)
# Azure may accept a change of traffic and then fail at it: one that is not seen for so long is asked for again.
SHIFT_ALLOWANCE = timedelta(minutes=5)
# A candidate that is rolled back may finish what it is answering before it is deleted.
LAST_ANSWERS = timedelta(seconds=10)
NOT_ANSWERING, REQUESTS_FAIL, TOO_SLOW = "not_answering", "requests_fail", "too_slow"
_UNMARKED = {"unreachable_since": None, "failing_since": None}


def advance_rollout(event: Event[DeploymentProbed], run: Run, services: Services) -> Outcome | None:
    assert run.rollout is not None
    if event.data.deployment != run.rollout.deployment:
        return None
    if run.status is Status.ROLLING_BACK:
        return _finish_rollback(event, run, run.rollout, services)
    problem = fault(event.data)
    if problem is None:
        return _advance(event, run, run.rollout, services)
    if problem.code in (NOT_ANSWERING, REQUESTS_FAIL, TOO_SLOW):
        return _wait_or_roll_back(event, run, run.rollout, problem)
    if problem.code in NO_MACHINE and not run.rollout.step:
        return _wait_for_machine(problem)
    return begin_rollback(event, run, problem)


def _wait_for_machine(problem: Problem) -> Outcome:
    """Azure accepted the deployment and found no machine for it: it is begun anew, as one that was refused at once."""
    refused = StageRefused(stage="deploy_model", failure_class=NO_MACHINE[problem.code], problem=problem)
    return Outcome(Status.APPROVED, {"rollout": None}, (Draft(refused),), note=f"{problem.code}: {problem.message}")


def _wait_or_roll_back(
    event: Event[DeploymentProbed], run: Run, rollout: RolloutRef, problem: Problem
) -> Outcome | None:
    """A deployment that fails requests or is slow goes no further, and back if that lasts.

    Some requests may fail or take long in one probe by chance, but not in two in a row. Wrong answers
    are never waited for.
    """
    silent = problem.code == NOT_ANSWERING
    since = rollout.unreachable_since if silent else rollout.failing_since
    if since is None or (silent and event.time < since):  # the clock was set back: waiting begins anew
        marks = {"unreachable_since": event.time if silent else None, "failing_since": None if silent else event.time}
        changes = RunChanges(rollout=rollout.model_copy(update=marks))
        return Outcome(status=Status.DEPLOYING, changes=changes, note=f"{problem.code}: {problem.message}")
    has_fallback = rollout.previous and event.data.traffic.get(rollout.deployment)
    allowance = UNREACHABLE_WITH_TRAFFIC_ALLOWANCE if has_fallback else UNREACHABLE_ALLOWANCE
    if silent and event.time - since < allowance:
        return None
    return begin_rollback(event, run, problem)


def begin_rollback(event: Event[EventData], run: Run, reason: Problem, by: str | None = None) -> Outcome:
    """Decide to roll back. The next probes do it: nothing is undone before this decision is written."""
    assert run.rollout is not None
    return Outcome(
        status=Status.ROLLING_BACK,
        changes={
            "rollout": run.rollout.model_copy(update={"traffic": run.rollout.previous}),
            "rollback": Rollback(reason=reason, by=by, at=event.time),
        },
        events=(Draft(RollbackStarted(endpoint=run.rollout.endpoint, reason=reason, by=by)),),
        note=f"{reason.code}: {reason.message}",
    )


def fault(seen: DeploymentProbed, min_as_evaluated: float = MIN_AS_EVALUATED) -> Problem | None:
    """What is wrong, the cause before its consequences: another template changes the answers too."""
    problem = seen.problem
    if problem is not None and (not seen.answers_failed or problem.code == "container_refused"):
        return problem
    answered = seen.answers_requested - seen.answers_failed
    if seen.problem is not None and answered == 0:
        return Problem(code=NOT_ANSWERING, message=_failures(seen, seen.problem))
    if seen.prompts_unlike_evaluated:
        return Problem(
            code="template_differs",
            message=f"{seen.prompts_unlike_evaluated} of {answered} prompts are rendered to another length",
        )
    if answered == 0 or seen.answers_unlike_base == 0:
        return Problem(
            code="adapter_has_no_effect",
            message=f"{seen.answers_unlike_base} of {answered} answers differ from the base model's",
        )
    if seen.answers_as_evaluated < min_as_evaluated * answered:
        return Problem(
            code="answers_changed",
            message=f"{seen.answers_as_evaluated} of {answered} answers are those of the evaluation",
        )
    if seen.problem is not None:
        return Problem(code=REQUESTS_FAIL, message=_failures(seen, seen.problem))
    return _slowness(seen)


def _failures(seen: DeploymentProbed, first: Problem) -> str:
    return f"{seen.answers_failed} of {seen.answers_requested} requests failed: {first.message}"


def _slowness(seen: DeploymentProbed) -> Problem | None:
    new, old = seen.latency_s, seen.previous_latency_s
    if new is None or old is None or new <= slowest(old):
        return None
    return Problem(code=TOO_SLOW, message=f"answers take {new:.2f} s, those of the old deployment {old:.2f} s")


def slowest(before_s: float) -> float:
    """Seconds above which answers are too slow that took `before_s`."""
    return max(MAX_SLOWDOWN * before_s, before_s + NOTICEABLE_S)


def _advance(event: Event[DeploymentProbed], run: Run, rollout: RolloutRef, services: Services) -> Outcome | None:
    if event.data.traffic != rollout.traffic:  # the last shift is not seen yet; the next probe reads it again
        if event.time - run.updated_at > SHIFT_ALLOWANCE:
            _ask_again(rollout, services)
        return _answers_again(rollout)
    try:
        require_still_right(run, services)
    except PermanentFailure as error:  # only traffic for it needs that: to go back needs nobody's permission
        return begin_rollback(event, run, error.problem)
    if rollout.traffic == {rollout.deployment: 100}:
        return _promote(event, run, rollout, services)
    share = run.resolved.requested.deployment.rollout[rollout.step] if rollout.previous else 100
    traffic = split(rollout, share)
    set_autoscale(run, services)
    services.models.begin_traffic(rollout.endpoint, traffic)
    return Outcome(
        status=Status.DEPLOYING,
        changes={"rollout": rollout.model_copy(update={"traffic": traffic, "step": rollout.step + 1, **_UNMARKED})},
        events=(Draft(TrafficShifted(endpoint=rollout.endpoint, traffic=traffic)),),
        note=f"{share} % of the traffic",
    )


def _answers_again(rollout: RolloutRef) -> Outcome | None:
    if not rollout.unreachable_since and not rollout.failing_since:
        return None
    changes = RunChanges(rollout=rollout.model_copy(update=_UNMARKED))
    return Outcome(status=Status.DEPLOYING, changes=changes, note="answers again")


def split(rollout: RolloutRef, share: int) -> dict[str, int]:
    """`share` percent for the candidate, the rest for the largest of the previous deployments."""
    if share == 100:
        return {rollout.deployment: 100}
    champion = max(rollout.previous, key=lambda name: rollout.previous[name])
    return {champion: 100 - share, rollout.deployment: share}


def _promote(event: Event[DeploymentProbed], run: Run, rollout: RolloutRef, services: Services) -> Outcome:
    assert event.data.scoring_uri is not None
    uri = event.data.scoring_uri
    before = endpoints.read(services.store, rollout.endpoint)
    if before is not None and before.champion == run.id:
        previous = before.previous  # written by an earlier delivery of this very event
    else:
        keep = timedelta(hours=run.resolved.requested.deployment.keep_previous_hours)
        if before and before.stopped:
            keep = timedelta(0)
        previous = before.as_previous(run.updated_at + keep) if before else None
    names = {"endpoint": rollout.endpoint, "deployment": rollout.deployment, "model": rollout.model}
    found = run.evaluation
    numbers = {"candidate": found.candidate, "gains": found.gains} if found else {}
    record = EndpointRecord(
        **names,
        project=run.project,
        champion=run.id,
        scoring_uri=uri,
        promoted_at=run.updated_at,
        previous=previous,
        baseline=baseline(event.data),
        health=before and before.health,
    )
    endpoints.write(services.store, record, replacing=before)
    return Outcome(
        status=Status.DEPLOYED,
        changes={"rollout": rollout.model_copy(update={"scoring_uri": uri})},
        events=(Draft(ModelPromoted(**names, scoring_uri=uri, **numbers)),),
        undo=lambda now: _withdraw_unless_deployed(now, rollout.endpoint, services),
    )


def baseline(seen: DeploymentProbed) -> Baseline:
    """Of a probe in which there were answers."""
    answered = seen.answers_requested - seen.answers_failed
    return Baseline(as_evaluated=seen.answers_as_evaluated / answered, latency_s=seen.latency_s)


def _withdraw_unless_deployed(run: Run, endpoint: str, services: Services) -> None:
    """A cancel was faster than the promotion: the record goes back to what it said."""
    if run.status is not Status.DEPLOYED:
        endpoints.withdraw(services.store, endpoint, run.id)


def _finish_rollback(
    event: Event[DeploymentProbed], run: Run, rollout: RolloutRef, services: Services
) -> Outcome | None:
    """Traffic, then record, then the deployment itself; at each probe whatever is not seen yet, again."""
    endpoints.withdraw(services.store, rollout.endpoint, run.id)
    if event.data.traffic != rollout.previous:
        _ask_again(rollout, services)
        return None
    if rollout.step > 0 and event.data.state is DeploymentState.SUCCEEDED:  # it had traffic and is up
        if rollout.back_since is None or event.time < rollout.back_since:
            changes = RunChanges(rollout=rollout.model_copy(update={"back_since": event.time}))
            return Outcome(status=Status.ROLLING_BACK, changes=changes, note="the traffic is back")
        if event.time - rollout.back_since < LAST_ANSWERS:
            return None
    try:
        services.models.begin_delete_deployment(rollout.endpoint, rollout.deployment)
    except (Transient, PermanentFailure):  # a shift asked for earlier came through only now
        _ask_again(rollout, services)
        return None
    reason, by = run.rollback_reason, run.rollback.by if run.rollback else None
    fact = ModelRolledBack(endpoint=rollout.endpoint, traffic=rollout.previous, reason=reason, by=by)
    return Outcome(status=Status.ROLLED_BACK, events=(Draft(fact),), note=f"{reason.code}: {reason.message}")


def _ask_again(rollout: RolloutRef, services: Services) -> None:
    with suppress(Transient):  # another change is in progress; the next probe asks again
        services.models.begin_traffic(rollout.endpoint, rollout.traffic)
