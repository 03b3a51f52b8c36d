"""Every event: one delivery per subscription that wants it, tried until it is delivered or given up. Changes no run.

Those of all projects are written first and apart: no project delays, outgrows or takes away what the platform gets.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, ValidationError

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, Problem, Transient
from shared.domain.events import Event, EventData, SubscriptionDisabled
from shared.domain.model import Frozen
from shared.domain.recipe import Notify
from shared.domain.run import Run
from shared.domain.subscriptions import (
    MAX_ATTEMPTS_KEPT,
    Attempt,
    DeliveryRecord,
    DeliveryState,
    Subscription,
    is_among,
)
from shared.domain.topology import DELIVERIES
from shared.ports import Message, Services
from shared.ports.services import BUSY, GONE
from shared.ports.store import is_id
from shared.records import policies
from shared.records import subscriptions as records
from shared.step_support.outcome import Outcome

log = logging.getLogger(__name__)

# "Required attributes" of CloudEvents 1.0, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
_REQUIRED = ("id", "source", "specversion", "type")


def _with_required_attributes(event: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if not isinstance(event.get(name), str) or not event[name]]
    if missing or not is_id(event["id"]):
        raise ValueError(f"not a CloudEvent: {', '.join(missing) or 'id'} must be a text")
    return event


class Delivery(Frozen):
    """The body of a message of the queue. URL and keys are read when it is delivered: they may have changed by then."""

    subscription: str = Field(description="its id")
    attempt: int = Field(default=1, ge=1)
    event: Annotated[dict[str, Any], AfterValidator(_with_required_attributes)] = Field(description="a CloudEvent")


def notify_platform(event: Event[EventData], run: Run, services: Services) -> Outcome | None:
    """The subscriptions of all projects, whatever those of the project are."""
    return _deliveries(event, None, (), services)


def notify(event: Event[EventData], run: Run, services: Services) -> Outcome | None:
    """The project's subscriptions that want it, or for which the run's recipe asks; it holds from `validated` on."""
    return _deliveries(event, run.project, run.recipe.requested.notify if run.recipe else (), services)


def _deliveries(
    event: Event[EventData], project: str | None, more: Sequence[Notify], services: Services
) -> Outcome | None:
    named = {one.subscription for one in more if is_among(event.short_type(), one.events)}
    found = [one for one in records.of_project(services.store, project) if one.name in named or one.wants(event.data)]
    messages = tuple((DELIVERIES, delivery(event.to_cloudevent(), one)) for one in found)
    return Outcome(messages=messages) if messages else None


def delivery(event: dict[str, Any], subscription: Subscription) -> Message:
    body = Delivery(subscription=subscription.id, event=event).model_dump_json().encode()
    return Message(id=f"{event['id']}@{subscription.id}", subject=event["type"], body=body)


# One attempt at one delivery.

# Waits after the first, second... failed attempt: the schedule Standard Webhooks recommends.
WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
BUSY_WAIT_S = 5
DISABLED_AFTER = timedelta(days=5)  # of nothing but failures


def deliver_notification(message: Message, services: Services) -> None:
    """Raises InvalidInput `malformed_delivery`."""
    delivery = _read(message)
    event, project = delivery.event, delivery.event["source"].removeprefix("/projects/")
    subscription = records.find(services.store, delivery.subscription, project)
    if subscription is None:
        log.info("delivery %s dropped: the subscription was deleted", message.id)
        return
    known = records.delivery(services.store, subscription.id, event["id"])
    if known is not None and known.state is DeliveryState.DELIVERED:
        return  # the message has come twice
    if subscription.disabled:
        _note(subscription, event, DeliveryState.HELD, None, services)
        return
    try:
        tried, state, problem = attempt(subscription, event, services)
    except Transient as error:
        if error.problem.code != BUSY:
            raise
        _send_again(message, delivery, BUSY_WAIT_S, services)
        return
    if state is DeliveryState.PENDING and delivery.attempt > len(WAITS_S):
        state = DeliveryState.FAILED
    level, text = (logging.WARNING, problem.message) if problem else (logging.INFO, "done")
    log.log(level, "delivery %s, attempt %d: %s", message.id, delivery.attempt, text)
    if state is DeliveryState.PENDING:
        again = delivery.model_copy(update={"attempt": delivery.attempt + 1})
        _send_again(message, again, WAITS_S[delivery.attempt - 1], services)
    _note(subscription, event, state, tried, services)
    _note_health(subscription, problem, services)


def attempt(
    subscription: Subscription, event: dict[str, Any], services: Services
) -> tuple[Attempt, DeliveryState, Problem | None]:
    """One request, what it makes of the delivery, and why it failed. Raises Transient BUSY, `policy_unreadable`."""
    policy, began = policies.read(services.store).policy, services.clock.now()
    status, problem, state = None, None, DeliveryState.DELIVERED
    try:
        for why in policy.host_problems(subscription.target.host, subscription.project):
            raise PermanentFailure(FailureClass.RECIPE, "target_not_allowed", why)
        status = services.notifier.deliver(subscription, event)
    except (Transient, PermanentFailure) as error:
        problem, is_final = error.problem, isinstance(error, PermanentFailure)
        if problem.code == BUSY:
            raise
        state = DeliveryState.FAILED if is_final else DeliveryState.PENDING
        status = int(problem.param) if problem.param and problem.param.isdecimal() else None
    ms = (services.clock.now() - began).total_seconds() * 1000
    return Attempt(at=began, status=status, code=problem.code if problem else None, ms=ms), state, problem


def _note(
    subscription: Subscription, event: dict[str, Any], state: DeliveryState, tried: Attempt | None, services: Services
) -> None:
    first = DeliveryRecord(event=event, state=state, noted_at=services.clock.now())

    def changed(known: DeliveryRecord) -> DeliveryRecord:
        attempts = (*known.attempts, tried)[-MAX_ATTEMPTS_KEPT:] if tried else known.attempts
        return known.model_copy(update={"state": state, "attempts": attempts})

    records.note(services.store, subscription.id, first, changed)


def _note_health(subscription: Subscription, problem: Problem | None, services: Services) -> None:
    """Since when nothing is delivered; too long, or a target that wants nothing more, disables the subscription."""
    now, since = services.clock.now(), subscription.failing_since
    if problem is None:
        if since is not None:
            records.update(services.store, subscription, lambda one: one.model_copy(update={"failing_since": None}))
        return
    reason = problem if problem.code == GONE else None
    if reason is None and since is not None and now - since >= DISABLED_AFTER:
        message = f"nothing was delivered since {since:%Y-%m-%d %H:%M} UTC: {problem.message}"
        reason = Problem(code="deliveries_failed", message=message)
    if reason is not None:
        disable(subscription, reason, services)
    elif since is None:
        records.update(
            services.store, subscription, lambda one: one.model_copy(update={"failing_since": one.failing_since or now})
        )


def disable(subscription: Subscription, reason: Problem, services: Services) -> None:
    """The other subscriptions that want to know are told first: after a crash in between it is done again."""
    now, store = services.clock.now(), services.store
    fact = SubscriptionDisabled(subscription=subscription.name, target=subscription.target.type, reason=reason)
    event = subscription.event(fact, now, key=str(subscription.version))
    others = [*records.of_project(store, None), *(records.of_project(store, p) if (p := subscription.project) else ())]
    notified = [one for one in others if one.id != subscription.id and not one.disabled and one.wants(fact)]
    services.bus.send(DELIVERIES, [delivery(event, one) for one in notified])
    change = {"disabled": reason, "disabled_at": now, "failing_since": None}
    records.update(store, subscription, lambda one: one if one.disabled else one.model_copy(update=change))
    log.error("subscription %s is disabled: %s", subscription.id, reason.message)


def redeliver(subscription: Subscription, chosen: Sequence[DeliveryRecord], services: Services) -> int:
    """Try what was noted again, from the first attempt on, under the ids it had; how many."""
    for record in chosen:
        _note(subscription, record.event, DeliveryState.PENDING, None, services)
        services.bus.send(DELIVERIES, [delivery(record.event, subscription)])
    return len(chosen)


def _send_again(message: Message, delivery: Delivery, wait_s: int, services: Services) -> None:
    due = services.clock.now() + timedelta(seconds=wait_s)
    services.bus.send(DELIVERIES, [replace(message, body=delivery.model_dump_json().encode(), scheduled_at=due)])


def _read(message: Message) -> Delivery:
    try:
        delivery = Delivery.model_validate_json(message.body, strict=True)
        orjson.dumps(delivery.event)
        return delivery
    except (ValidationError, orjson.JSONEncodeError) as error:  # orjson writes no integer beyond 64 bit
        message_text = "a delivery needs subscription, attempt and a CloudEvent as event"
        raise InvalidInput("malformed_delivery", message_text, message.id) from error
