"""`/api/endpoints`: what is in production and the way back, and the end."""

from typing import Literal

from fastapi import APIRouter

from functions.http.auth import Access, CurrentRunner, CurrentServices, Operator, Reader
from functions.http.errors import ApiError, existing
from functions.http.runs import Comment
from shared.api.models import EndpointCost, EndpointDetail, EndpointList, RollbackAccepted, RunReference
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import PermanentFailure, UnreadableDocument
from shared.domain.events import EndpointOrdered, RollbackRequested
from shared.domain.run import Run
from shared.ports import Services
from shared.records import claims, serving_costs
from shared.records.claims import endpoint_claim, turn_claim
from shared.records.endpoints import all_records, read
from shared.runner import Runner
from shared.step_support.outcome import Draft

router = APIRouter(prefix="/api/endpoints", tags=["endpoints"])


@router.get("")
def list_endpoints(access: Reader, services: CurrentServices) -> EndpointList:
    """By name, and what each costs by list prices."""
    unreadable: list[UnreadableDocument] = []
    every = sorted(all_records(services.store, unreadable), key=lambda record: record.endpoint)
    records = [record for record in every if access.allows(_project_of(record, access))]
    hidden = {record.endpoint for record in every} - {record.endpoint for record in records}
    usd: dict[str, tuple[float | None, float | None]] = {record.endpoint: (0.0, 0.0) for record in records}
    for one in serving_costs.all_costs(services.store, unreadable):
        if one.endpoint in hidden or not (one.endpoint in usd or access.allows(access.policy.owner(one.endpoint))):
            continue
        if one.running or one.usd_of_month(services.clock.now()) != 0:
            usd[one.endpoint] = (one.usd_per_hour(), one.usd_of_month(services.clock.now()))
    costs = (EndpointCost(endpoint=at, usd_per_hour=now, usd_this_month=all) for at, (now, all) in sorted(usd.items()))
    seen = tuple(unreadable) if access.allows(None) else ()
    return EndpointList(data=tuple(records), costs=tuple(costs), unreadable=seen)


@router.get("/{name}")
def get_endpoint(name: str, access: Reader, services: CurrentServices) -> EndpointDetail:
    """The deployment in production, the previous one while it is kept warm, and what all deployments cost."""
    record, now = find_record(name, access, services), services.clock.now()
    costs = serving_costs.read(services.store, name)
    usd = {"usd_per_hour": costs.usd_per_hour(), "usd_this_month": costs.usd_of_month(now)}
    return EndpointDetail.model_validate({**dict(record), "costs": costs, **usd})


def find_record(name: str, access: Access, services: Services) -> EndpointRecord:
    record = read(services.store, name)
    project = _project_of(record, access) if record else access.policy.owner(name)
    return access.existing(record, "endpoint_not_found", f"no model is in production at {name}", "name", project)


def _project_of(record: EndpointRecord, access: Access) -> str:
    return access.policy.owner(record.endpoint) or record.project


@router.post("/{name}/rollback", status_code=202)
def roll_back_endpoint(
    name: str, access: Operator, services: CurrentServices, runner: CurrentRunner, comment: Comment
) -> RollbackAccepted:
    """Request a rollback to the previous deployment. It stays reversible: what is left now becomes the previous one.

    It waits for a rollout at the endpoint. The run in production says in its history when it is done, or why not.
    """
    record = find_record(name, access, services)
    now = services.clock.now()
    if record.previous is None or now >= record.previous.keep_until:
        raise ApiError(409, "nothing_to_roll_back_to", f"{name} keeps no previous deployment", name)
    run = _readable_run(runner, record.champion, record.previous.champion)
    leave, to = record.deployment, record.previous.deployment
    owner, by = _project_of(record, access), access.caller.name
    data = RollbackRequested(endpoint=name, project=owner, deployment=leave, to=to, by=by, comment=comment)
    # Back and forth and back again are three requests; a double click is one.
    runner.publish(run, Draft(data, key=f"{leave}.{int(now.timestamp())}"))
    return RollbackAccepted(endpoint=name, from_=leave, to=to)


@router.post("/{name}/restore", status_code=202)
def restore_endpoint(name: str, access: Operator, runner: CurrentRunner, comment: Comment) -> RunReference:
    """Deploy the model of a stopped endpoint again. The run in production says in its history when it is done."""
    return _ordered(name, "restored", access, runner, comment)


@router.delete("/{name}", status_code=202)
def delete_endpoint(name: str, access: Operator, runner: CurrentRunner, comment: Comment) -> RunReference:
    """Delete an endpoint with its deployments: its URL answers no more. Runs and registered models stay."""
    return _ordered(name, "deleted", access, runner, comment)


def _ordered(
    name: str, to: Literal["restored", "deleted"], access: Access, runner: Runner, comment: str
) -> RunReference:
    """Raises ApiError 409: `endpoint_busy` while a candidate is evaluated for it or anything is under way there,
    `endpoint_serves` if there is nothing to restore."""
    record = find_record(name, access, runner.services)
    run = _readable_run(runner, record.champion, record.champion)
    for claim in (endpoint_claim(name), turn_claim(name)):
        if (held := claims.read(runner.services.store, claim)) is not None:
            raise ApiError(409, "endpoint_busy", f"{held.owner} holds {name}: wait for it, or cancel the run", name)
    if to == "deleted" or record.stopped is not None:
        owner = _project_of(record, access)
        order = EndpointOrdered(endpoint=name, project=owner, to=to, by=access.caller.name, comment=comment)
        runner.publish(run, Draft(order, key=str(int(runner.services.clock.now().timestamp()))))
    else:
        raise ApiError(409, "endpoint_serves", f"{name} is not stopped: its model answers, nothing is to restore", name)
    return RunReference(id=run.id)


def _readable_run(runner: Runner, champion: str, previous: str) -> Run:
    """The run in production, or the one before it if its document is damaged: what is asked for is about both."""
    try:
        run = runner.load(champion)
    except PermanentFailure:
        run = None
    run = run or runner.load(previous) or runner.load(champion)
    return existing(run, "run_not_found", f"no run {champion}, whose model is in production", champion)
