"""A person asked for it: the previous deployment of an endpoint gets the traffic again."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.endpoint import EndpointRecord, PreviousDeployment
from shared.domain.errors import Problem, Transient
from shared.domain.events import Event, ModelRolledBack, RollbackRequested
from shared.domain.recipe import Deployment
from shared.domain.run import Rollback, Run, Status
from shared.ports import Services
from shared.records import claims, endpoints
from shared.step_support.outcome import Draft, Outcome


def roll_back(event: Event[RollbackRequested], run: Run, services: Services) -> Outcome | None:
    """None if there is nothing to go back to. The record is changed once the traffic is seen."""
    claim = claims.endpoint_claim(event.data.endpoint)
    # The claim is the request's, not the run's: a deployed run holds no claim any more.
    owner = claims.take(services.store, claim, event.id, services.clock.now())
    if owner != event.id:
        raise Transient("endpoint_busy", f"run {owner} is rolling out on {event.data.endpoint}", event.data.endpoint)
    record = endpoints.read(services.store, event.data.endpoint)
    if record is not None and record.deployment == event.data.deployment and record.previous is not None:
        record = _swap(record, record.previous, run, services)
    claims.release(services.store, claim, event.id)
    if record is None or record.previous is None or record.previous.deployment != event.data.deployment:
        return None
    by, comment, endpoint = event.data.by, event.data.comment, event.data.endpoint
    message = f"{by} gave the traffic back to {record.deployment}" + (f": {comment}" if comment else "")
    reason = Problem(code="requested", message=message)
    fact = ModelRolledBack(endpoint=endpoint, traffic={record.deployment: 100}, reason=reason, by=by)
    rollback = Rollback(reason=reason, by=by, at=event.time)
    return Outcome(
        status=Status.DEPLOYED,
        # The run that gets the traffic tells of it where the document of the other cannot be read.
        changes={"rollback": rollback} if run.id == record.previous.champion else {},
        events=(Draft(fact, key=event.key),),
        note=f"{reason.code}: {reason.message}",
    )


def _swap(record: EndpointRecord, previous: PreviousDeployment, run: Run, services: Services) -> EndpointRecord:
    """The deployment that loses the traffic is kept too, so that the rollback can be reversed."""
    traffic = {previous.deployment: 100}
    view = services.models.get_endpoint(record.endpoint)
    if view is None or view.traffic != traffic:
        services.models.begin_traffic(record.endpoint, traffic)
        raise Transient("traffic_shifting", f"{record.endpoint} is to answer with {previous.deployment}")
    settings = run.recipe.requested.deployment if run.recipe else Deployment()  # lost in a repair
    keep = timedelta(hours=settings.keep_previous_hours)
    now = services.clock.now()
    dates = {"promoted_at": now, "previous": record.as_previous(now + keep)}
    swapped = record.model_copy(update=previous.model_dump(exclude={"keep_until"}) | dates)
    endpoints.write(services.store, swapped, replacing=record)
    return swapped
