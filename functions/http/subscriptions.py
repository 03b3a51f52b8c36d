"""`/api/subscriptions`: who gets which events, and what became of them. URLs and keys are in no answer but a key's
first."""

import base64
import secrets
from collections.abc import Iterator
from itertools import takewhile
from typing import Annotated

from fastapi import APIRouter, Query, Response

from functions.http.auth import Access, CurrentServices, Owner, Reader
from functions.http.errors import ApiError, existing
from functions.http.runs import IfMatch
from shared.api import models
from shared.domain.errors import Problem, StoreConflict, Transient, UnreadableDocument
from shared.domain.events import SubscriptionTest
from shared.domain.model import UtcTime
from shared.domain.policy import PolicyProblem
from shared.domain.subscriptions import (
    MAX_SUBSCRIPTIONS,
    Attempt,
    DeliveryRecord,
    DeliveryState,
    Subscription,
    SubscriptionChange,
    SubscriptionRequest,
    Target,
    Webhook,
    unknown_events,
)
from shared.ports import Services
from shared.records import policies
from shared.records import subscriptions as records
from shared.steps.notify import attempt, redeliver

router = APIRouter(prefix="/api/subscriptions", tags=["subscriptions"])


@router.get("")
def list_subscriptions(
    access: Reader, services: CurrentServices, project: str | None = None
) -> models.SubscriptionList:
    """Those that the caller may see, each with its newest delivery."""
    unreadable: list[UnreadableDocument] = []
    found = [one for one in records.every(services.store, unreadable) if access.allows(one.project)]
    chosen = (one for one in found if project in (None, one.project))
    data = (_seen(one, access, services) for one in sorted(chosen, key=lambda one: (one.project or "", one.name)))
    return models.SubscriptionList(data=tuple(data), unreadable=tuple(unreadable) if access.allows(None) else ())


@router.post("", status_code=201)
def create_subscription(
    request: SubscriptionRequest, access: Owner, services: CurrentServices
) -> models.SubscriptionCreated:
    """Create one, if its events exist and its target can be connected to. The answer alone has its keys."""
    access.require(request.project)
    _require(_problems(request, request.project, services))
    subscription = Subscription(
        **dict(request),
        id=f"{request.name}-{secrets.token_hex(4)}",
        keys=(_new_key(), _new_key()),
        created_by=access.caller.name,
        created_at=services.clock.now(),
    )
    if len(records.of_project(services.store, request.project)) >= MAX_SUBSCRIPTIONS:
        message = f"{request.project or 'of all projects'} has {MAX_SUBSCRIPTIONS}, the most there may be"
        raise ApiError(409, "too_many_subscriptions", message, "project")
    try:
        records.create(services.store, subscription)
    except StoreConflict as error:
        raise ApiError(409, "subscription_exists", f"there is one named {request.name}", "name") from error
    shown = _shown(subscription)
    return models.SubscriptionCreated(
        subscription=shown, keys=subscription.keys, warnings=tuple(_warnings(request.target))
    )


@router.get("/{subscription_id}")
def get_subscription(
    subscription_id: str, response: Response, access: Reader, services: CurrentServices
) -> models.SubscriptionView:
    """One, with its newest delivery."""
    found = _find(subscription_id, access, services)
    response.headers["ETag"] = _etag(found)
    return _seen(found, access, services)


@router.patch("/{subscription_id}")
def change_subscription(
    subscription_id: str,
    request: SubscriptionChange,
    access: Owner,
    services: CurrentServices,
    if_match: IfMatch = None,
) -> models.SubscriptionView:
    """Change what the request names. `enabled` ends or begins that it gets nothing. If-Match: the ETag looked at."""
    found = _find(subscription_id, access, services)
    _require(_problems(request, found.project, services))
    given = {name: value for name in ("target", "events", "severity") if (value := getattr(request, name)) is not None}
    if request.enabled is not None:
        given |= {"disabled": None, "disabled_at": None, "failing_since": None}
    if request.enabled is False:
        given |= {
            "disabled": Problem(code="disabled", message=f"{access.caller.name} disabled it"),
            "disabled_at": services.clock.now(),
        }

    def changed(one: Subscription) -> Subscription:
        if if_match not in (None, "*", _etag(one)):
            raise ApiError(412, "subscription_changed", "it has changed since it was looked at", subscription_id)
        return one.model_copy(update={**given, "version": one.version + 1})

    return _shown(_there(records.update(services.store, found, changed), subscription_id))


@router.delete("/{subscription_id}")
def delete_subscription(subscription_id: str, access: Owner, services: CurrentServices) -> models.SubscriptionView:
    """Delete it: what is on its way to it is dropped."""
    found = _find(subscription_id, access, services)
    try:
        records.delete(services.store, found)
    except StoreConflict:
        _there(None, subscription_id)
    return _shown(found)


@router.post("/{subscription_id}/test")
def test_subscription(subscription_id: str, access: Owner, services: CurrentServices) -> Attempt:
    """Send a `subscription.test` now, also to one that is disabled, and say what came of it. It is not in the log."""
    found, now = _find(subscription_id, access, services), services.clock.now()
    fact = SubscriptionTest(subscription=found.name, target=found.target.type, by=access.caller.name)
    try:
        return attempt(found, found.event(fact, now, key=secrets.token_hex(4)), services)[0]
    except Transient as error:
        return Attempt(at=now, code=error.problem.code, ms=0)


@router.post("/{subscription_id}/rotate")
def rotate_key(subscription_id: str, access: Owner, services: CurrentServices) -> models.KeyRotated:
    """Make a new key in the place of the older of the two. The answer alone has it."""
    found, key = _find(subscription_id, access, services), _new_key()

    def rotated(one: Subscription) -> Subscription:
        return one.model_copy(update={"keys": (key, one.keys[0]), "version": one.version + 1})

    _there(records.update(services.store, found, rotated), subscription_id)
    return models.KeyRotated(key=key)


@router.get("/{subscription_id}/deliveries")
def list_deliveries(
    subscription_id: str,
    access: Reader,
    services: CurrentServices,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> models.DeliveryList:
    """What became of each event in 30 days. Of one for all projects, those of projects that the caller may see."""
    found = _find(subscription_id, access, services)
    data, cursor = records.deliveries(services.store, found.id, limit, after)
    seen = (one for one in data if access.allows(_project_of(one)))
    return models.DeliveryList(data=tuple(seen), next=cursor)


@router.post("/{subscription_id}/redeliver", status_code=202)
def redeliver_events(
    subscription_id: str,
    access: Owner,
    services: CurrentServices,
    event: Annotated[str | None, Query(max_length=models.MAX_NAME)] = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
    all: bool = False,
) -> models.Redelivered:
    """Send events again, under the ids they had: one, or of those noted from `since` until `until` those that were not
    delivered, oldest first; with `all` the others too."""
    found, store = _find(subscription_id, access, services), services.store
    if event is None and since is None:
        raise ApiError(400, "bad_request", "name an event, or the time since when", "event")
    if found.disabled:
        raise ApiError(409, "subscription_disabled", f"enable it first: {found.disabled.message}", subscription_id)
    if event is not None:
        record = records.delivery(store, found.id, event)
        chosen = [existing(record, "delivery_not_found", f"no event {event} is in its log", "event")]
    else:
        newest_first = takewhile(
            lambda one: since is None or one.noted_at >= since, records.all_deliveries(store, found.id)
        )
        chosen = [one for one in newest_first if until is None or one.noted_at <= until]
        chosen = [one for one in chosen[::-1] if all or one.state in _MISSING]
    return models.Redelivered(redelivered=redeliver(found, chosen, services))


_MISSING = (DeliveryState.FAILED, DeliveryState.HELD)


def _problems(
    request: SubscriptionRequest | SubscriptionChange, project: str | None, services: Services
) -> Iterator[PolicyProblem]:
    """All that is wrong with what is to be written."""
    for message in unknown_events(request.events or ()):
        yield PolicyProblem(path="events", code="unknown_event", message=message, remedy="Correct the name.")
    if request.target is not None:
        host, policy = request.target.host, policies.read(services.store).policy
        for message in policy.host_problems(host, project):
            remedy = "Name another host, or ask an administrator: droptune policy show prints the policy."
            yield PolicyProblem(path="target.url", code="policy", message=message, remedy=remedy)
        if (why := services.notifier.problem(request.target)) is not None:
            remedy = "Give the address of a target that answers; NOTIFY_PRIVATE_HOSTS has those that are not public."
            yield PolicyProblem(path="target.url", code="target_not_allowed", message=why, remedy=remedy)


def _require(problems: Iterator[PolicyProblem]) -> None:
    """Raises ApiError 400 with all of them, if there are any."""
    if found := tuple(problems):
        raise ApiError(400, "subscription_invalid", "\n".join(map(str, found)), found[0].path, found)


def _warnings(target: Target) -> Iterator[str]:
    if target.unsigned:
        yield target.unsigned
    if isinstance(target, Webhook) and target.mode == "binary":
        yield "the signature is of the body and the id: the other attributes in `ce-` headers are not signed"


def _find(id: str, access: Access, services: Services) -> Subscription:
    found = records.by_id(services.store, id)
    project = found.project if found else None
    return access.existing(found, "subscription_not_found", f"no subscription {id}", "subscription_id", project)


def _there(found: Subscription | None, id: str) -> Subscription:
    """Raises ApiError 404 for one that was deleted meanwhile."""
    return existing(found, "subscription_not_found", f"no subscription {id}", "subscription_id")


def _seen(found: Subscription, access: Access, services: Services) -> models.SubscriptionView:
    newest = [
        one for one in records.deliveries(services.store, found.id, 1, None)[0] if access.allows(_project_of(one))
    ]
    return _shown(found, newest[0] if newest else None)


def _shown(found: Subscription, last: DeliveryRecord | None = None) -> models.SubscriptionView:
    """Without keys, and of the URL the host."""
    masked = found.model_copy(update={"target": found.target.masked()}).model_dump()
    return models.SubscriptionView.model_validate({**masked, "last": last})


def _project_of(record: DeliveryRecord) -> str | None:
    project = str(record.event["source"]).removeprefix("/projects/")
    return None if project == "*" else project


def _etag(found: Subscription) -> str:
    return f'"{found.version}"'


def _new_key() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
