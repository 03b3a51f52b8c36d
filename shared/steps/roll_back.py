"""A person asked for it, or `monitor_endpoints` for the first: the previous deployment of an endpoint gets the traffic
again, the model of a stopped endpoint is deployed again, or an endpoint is deleted."""

from datetime import timedelta

from shared.domain.endpoint import EndpointRecord, PreviousDeployment
from shared.domain.errors import FailureClass, PermanentFailure, Problem, Transient
from shared.domain.events import (
    DeploymentProbed,
    EndpointChanged,
    EndpointOrdered,
    Event,
    ModelRolledBack,
    RollbackRequested,
)
from shared.domain.run import Rollback, RolloutRef, Run, Status
from shared.ports import Services
from shared.records import claims, endpoints
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import require_owner
from shared.steps.advance_rollout import NOT_ANSWERING, fault
from shared.steps.deploy_model import begin_deployment, deployment_spec, model_spec, require_still_right, set_autoscale
from shared.steps.probe_deployments import probe_deployment

# As a rollout has. An order that holds an endpoint for longer keeps others from it.
ALLOWANCE = timedelta(hours=2)


def roll_back(event: Event[RollbackRequested | EndpointOrdered], run: Run, services: Services) -> Outcome:
    """The record is changed once what was asked for is seen.

    Raises PermanentFailure `rollback_void`, `deployment_vanished`, `restore_failed`, `rollback_unfinished`,
    `endpoint_of_another_project`; to restore, as `require_still_right`.
    """
    claim, now = claims.endpoint_claim(event.data.endpoint), services.clock.now()
    held = claims.read(services.store, claim)
    if held is None or held.owner != event.id:  # what has begun is carried out, whoever is the owner by now
        require_owner(event.data.endpoint, event.data.project or run.project, services)
    try:
        # The claim is the request's, not the run's: a deployed run holds no claim any more.
        if (owner := claims.take(services.store, claim, event.id, now)) != event.id:
            raise Transient("endpoint_busy", f"{owner} holds {event.data.endpoint}", event.data.endpoint)
        outcome = _carried_out(event, run, services)
    except Transient as error:
        held = claims.read(services.store, claim)
        if held is None or held.owner != event.id or abs(now - held.created_at) <= ALLOWANCE:
            raise
        claims.release(services.store, claim, event.id)
        # It may still move: the record says what was seen.
        message = f"{ALLOWANCE} passed, and it is not seen: {error.problem.message}; ask for it again"
        raise PermanentFailure(FailureClass.PLATFORM, "rollback_unfinished", message, event.data.endpoint) from error
    except Exception:
        claims.release(services.store, claim, event.id)
        raise
    claims.release(services.store, claim, event.id)
    return outcome


def _carried_out(event: Event[RollbackRequested | EndpointOrdered], run: Run, services: Services) -> Outcome:
    by, comment, endpoint = event.data.by, event.data.comment, event.data.endpoint
    why = f": {comment}" if comment else ""
    if isinstance(event.data, EndpointOrdered):
        found, to = endpoints.read(services.store, endpoint), event.data.to
        if found is not None and found.champion != run.id:
            message = f"{endpoint} has {found.champion} in production by now: ask again"
            raise PermanentFailure(FailureClass.PLATFORM, "rollback_void", message, endpoint)
        if found is None and to == "restored":
            message = f"{endpoint} was deleted: drop the data of {run.id} again"
            raise PermanentFailure(FailureClass.PLATFORM, "rollback_void", message, endpoint)
        if found is not None:  # else it was deleted, by an earlier delivery
            (_restore if to == "restored" else _delete)(found, run, services)
        changed = EndpointChanged(endpoint=endpoint, state=to, by=by, comment=comment)
        return Outcome(Status.DEPLOYED, events=(Draft(changed, key=event.key),), note=f"{by}: {endpoint} is {to}{why}")
    record = _swapped(event.data, run, services)
    assert record.previous is not None
    requested = Problem(code="requested", message=f"{by} gave the traffic back to {record.deployment}{why}")
    reason = event.data.reason or requested
    fact = ModelRolledBack(endpoint=endpoint, traffic={record.deployment: 100}, reason=reason, by=by or None)
    rollback = Rollback(reason=reason, by=by or None, at=event.time)
    return Outcome(
        status=Status.DEPLOYED,
        # The run that gets the traffic tells of it where the document of the other cannot be read.
        changes={"rollback": rollback} if run.id == record.previous.champion else {},
        events=(Draft(fact, key=event.key),),
        note=f"{reason.code}: {reason.message}",
    )


def _swapped(order: RollbackRequested, run: Run, services: Services) -> EndpointRecord:
    leave, to, endpoint = order.deployment, order.to, order.endpoint
    record = endpoints.read(services.store, endpoint)
    if (
        record is not None
        and (previous := record.previous) is not None
        and run.id in (record.champion, previous.champion)
    ):
        if (record.deployment, previous.deployment) == (to, leave):
            return record  # by an earlier delivery
        if record.deployment == leave and to in ("", previous.deployment):
            return _swap(record, previous, run, services)
    found = record.deployment if record else "nothing"
    message = f"{endpoint} has {found} in production by now: the order from {leave} to {to} is void"
    raise PermanentFailure(FailureClass.PLATFORM, "rollback_void", message, endpoint)


def _swap(record: EndpointRecord, previous: PreviousDeployment, run: Run, services: Services) -> EndpointRecord:
    """The deployment that loses the traffic is kept too, so that the rollback can be reversed."""
    traffic = {previous.deployment: 100}
    view = services.models.get_endpoint(record.endpoint)
    if view is None or previous.deployment not in view.deployments:
        message = f"{record.endpoint} has no {previous.deployment} any more: drop the data of {previous.champion} again"
        raise PermanentFailure(FailureClass.PLATFORM, "deployment_vanished", message, previous.deployment)
    if view.traffic != traffic:
        services.models.begin_traffic(record.endpoint, traffic)
        raise Transient("traffic_shifting", f"{record.endpoint} is to answer with {previous.deployment}")
    keep = timedelta(hours=run.deployment.keep_previous_hours)
    now = services.clock.now()
    left = record.as_previous(now + keep, left=True)
    swapped = record.model_copy(update={**previous.as_present(), "promoted_at": now, "previous": left})
    endpoints.write(services.store, swapped, replacing=record)
    return swapped


def _restore(record: EndpointRecord, run: Run, services: Services) -> None:
    """Deploy its model again. What is left of a restore that fails, `retire_deployments` deletes."""
    models, endpoint = services.models, record.endpoint
    if record.stopped is None:
        return  # by an earlier delivery, or another order
    require_still_right(run, services)
    models.register_model(model_spec(run))
    if not models.begin_endpoint(endpoint, {"project": run.project}):
        raise Transient("endpoint_provisioning", f"{endpoint} is being created", endpoint)
    begin_deployment(deployment_spec(run, services.config), run, services)
    names = {"endpoint": endpoint, "deployment": record.deployment, "model": record.model}
    as_rollout = run.evolve(rollout=RolloutRef(**names, previous={}, traffic={}, step=0))
    draft = probe_deployment(as_rollout, services)
    if draft is None:
        raise Transient("deployment_creating", f"{record.deployment} is being created", endpoint)
    assert isinstance(draft.data, DeploymentProbed)
    if (problem := fault(draft.data)) is not None and problem.code == NOT_ANSWERING:
        raise Transient(problem.code, problem.message, endpoint)
    if problem is not None:
        raise PermanentFailure(FailureClass.PLATFORM, "restore_failed", f"{problem.code}: {problem.message}", endpoint)
    if draft.data.traffic != {record.deployment: 100}:
        set_autoscale(run, services)
        models.begin_traffic(endpoint, {record.deployment: 100})
        raise Transient("traffic_shifting", f"{endpoint} is to answer with {record.deployment}", endpoint)
    update = {"stopped": None, "restored_at": services.clock.now(), "scoring_uri": draft.data.scoring_uri}
    endpoints.write(services.store, record.model_copy(update=update), replacing=record)


def _delete(record: EndpointRecord, run: Run, services: Services) -> None:
    """The record goes once the endpoint is gone: until then nothing else is deployed there."""
    services.models.begin_delete_endpoint(record.endpoint)
    if services.models.get_endpoint(record.endpoint) is not None:
        raise Transient("endpoint_deleting", f"{record.endpoint} is being deleted", record.endpoint)
    # The same data may be dropped again: nothing that was made of it is in production.
    dataset = claims.dataset_claim(run.project, run.dataset.sha256, run.fingerprint)
    claims.release(services.store, dataset, run.id)
    endpoints.remove(services.store, record.endpoint)
