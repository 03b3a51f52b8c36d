"""One step of a rollout. A traffic change is written as done only once a look shows it (design section 1)."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.errors import Problem
from shared.domain.events import (
    DeploymentProbed,
    ModelPromoted,
    ModelRolledBack,
    RollbackStarted,
    TrafficShifted,
)
from shared.domain.run import RolloutRef, Run, Status
from shared.ports import Services
from shared.steps import endpoints
from shared.steps.outcome import Fact, Outcome

# Below 1 because kernels differ between evaluating and serving in batches; a wrong template or an
# adapter that is not applied changes nearly every answer.
MIN_AS_EVALUATED = 0.8
# A server that restarts, or a load balancer that learns of it late, gets this long.
UNREACHABLE_ALLOWANCE = timedelta(minutes=2)


def advance_rollout(event: DeploymentProbed, run: Run, services: Services) -> Outcome | None:
    assert run.rollout is not None
    if event.deployment != run.rollout.deployment:
        return None
    if run.status is Status.ROLLING_BACK:
        return _finish_rollback(event, run.rollout, services)
    problem = _fault(event)
    if problem is None:
        return _advance(event, run, run.rollout, services)
    if event.state == "succeeded" and event.problem is not None:
        return _wait_or_roll_back(event, run.rollout, problem, services)
    return roll_back(run.rollout, problem, services)


def _wait_or_roll_back(
    event: DeploymentProbed, rollout: RolloutRef, problem: Problem, services: Services
) -> Outcome | None:
    """A deployment that is up but does not answer; wrong answers are never waited for."""
    if rollout.unreachable_since is None:
        waiting = rollout.model_copy(update={"unreachable_since": event.time})
        return Outcome(status=Status.DEPLOYING, changes={"rollout": waiting}, note=problem.message)
    if event.time - rollout.unreachable_since < UNREACHABLE_ALLOWANCE:
        return None
    return roll_back(rollout, problem, services)


def roll_back(rollout: RolloutRef, problem: Problem, services: Services) -> Outcome:
    services.models.begin_traffic(rollout.endpoint, rollout.previous)
    return Outcome(
        status=Status.ROLLING_BACK,
        changes={"rollout": rollout.model_copy(update={"traffic": rollout.previous})},
        facts=(Fact(RollbackStarted, endpoint=rollout.endpoint, reason=problem),),
        note=f"{problem.code}: {problem.message}",
    )


def _fault(event: DeploymentProbed) -> Problem | None:
    if event.problem is not None:
        return event.problem
    if event.answers_asked == 0 or event.answers_unlike_base == 0:
        return Problem(
            code="adapter_does_not_act",
            message=f"{event.answers_unlike_base} of {event.answers_asked} answers differ from the base model's",
        )
    if event.answers_as_evaluated < MIN_AS_EVALUATED * event.answers_asked:
        return Problem(
            code="answers_changed",
            message=f"{event.answers_as_evaluated} of {event.answers_asked} answers are those of the evaluation",
        )
    return None


def _advance(event: DeploymentProbed, run: Run, rollout: RolloutRef, services: Services) -> Outcome | None:
    assert run.recipe is not None
    if event.traffic != rollout.traffic:  # the last shift is not seen yet; the next probe looks again
        return _reachable_again(rollout) if rollout.unreachable_since else None
    if rollout.traffic == {rollout.deployment: 100}:
        return _promote(event, run, rollout, services)
    share = run.recipe.recipe.deployment.rollout[rollout.step] if rollout.previous else 100
    traffic = split(rollout, share)
    services.models.begin_traffic(rollout.endpoint, traffic)
    return Outcome(
        status=Status.DEPLOYING,
        changes={
            "rollout": rollout.model_copy(
                update={"traffic": traffic, "step": rollout.step + 1, "unreachable_since": None}
            )
        },
        facts=(Fact(TrafficShifted, endpoint=rollout.endpoint, traffic=traffic),),
        note=f"{share} % of the traffic",
    )


def _reachable_again(rollout: RolloutRef) -> Outcome:
    changes = {"rollout": rollout.model_copy(update={"unreachable_since": None})}
    return Outcome(status=Status.DEPLOYING, changes=changes, note="answers again")


def split(rollout: RolloutRef, share: int) -> dict[str, int]:
    """`share` percent for the candidate, the rest for the largest of the previous deployments."""
    if share == 100:
        return {rollout.deployment: 100}
    champion = max(rollout.previous, key=lambda name: rollout.previous[name])
    return {champion: 100 - share, rollout.deployment: share}


def _promote(event: DeploymentProbed, run: Run, rollout: RolloutRef, services: Services) -> Outcome:
    assert event.scoring_uri is not None
    endpoints.write(
        services.store,
        endpoints.EndpointRecord(
            endpoint=rollout.endpoint,
            champion=run.id,
            deployment=rollout.deployment,
            model=rollout.model,
            scoring_uri=event.scoring_uri,
            promoted_at=run.updated_at,
        ),
    )
    return Outcome(
        status=Status.DEPLOYED,
        changes={"rollout": rollout.model_copy(update={"scoring_uri": event.scoring_uri})},
        facts=(
            Fact(
                ModelPromoted,
                endpoint=rollout.endpoint,
                deployment=rollout.deployment,
                model=rollout.model,
                scoring_uri=event.scoring_uri,
            ),
        ),
    )


def _finish_rollback(event: DeploymentProbed, rollout: RolloutRef, services: Services) -> Outcome | None:
    if event.traffic != rollout.previous:
        services.models.begin_traffic(rollout.endpoint, rollout.previous)
        return None
    services.models.begin_delete_deployment(rollout.endpoint, rollout.deployment)
    return Outcome(
        status=Status.ROLLED_BACK,
        facts=(Fact(ModelRolledBack, endpoint=rollout.endpoint, traffic=rollout.previous),),
    )
