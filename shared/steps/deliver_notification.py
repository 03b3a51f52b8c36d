"""One attempt at one delivery; the next attempt is scheduled until it is delivered or given up."""

import logging
from dataclasses import replace
from datetime import timedelta

import orjson
from pydantic import ValidationError

from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from shared.domain.topology import DELIVERIES
from shared.ports import Message, Services
from shared.ports.services import BUSY
from shared.records import channels
from shared.steps.notify import Delivery

log = logging.getLogger(__name__)

# Waits after the first, second... failed attempt: the schedule Standard Webhooks recommends.
WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
BUSY_WAIT_S = 5


def deliver_notification(message: Message, services: Services) -> None:
    """Raises InvalidInput `malformed_delivery`."""
    delivery, body = _read(message)
    try:
        services.notifier.deliver(delivery.url, message.id, body, _project(delivery, services))
    except PermanentFailure as error:
        channels.refuse(services.store, delivery.url, error.problem, services.clock.now())
        log.error("delivery %s given up: %s", message.id, error)
    except Transient as error:
        _schedule_next(message, delivery, error, services)
    else:
        log.info("delivery %s done in attempt %d", message.id, delivery.attempt)


def _project(delivery: Delivery, services: Services) -> str | None:
    """None for the platform's own channels: what they get does not wait for the project's."""
    own = any(channel.url == delivery.url for channel in services.config.channels)
    return None if own else str(delivery.event["source"])


def _schedule_next(message: Message, delivery: Delivery, error: Transient, services: Services) -> None:
    attempt, busy = delivery.attempt, error.problem.code == BUSY
    if attempt > len(WAITS_S) and not busy:
        log.error("delivery %s given up after %d attempts: %s", message.id, attempt, error)
        return
    due = services.clock.now() + timedelta(seconds=BUSY_WAIT_S if busy else WAITS_S[attempt - 1])
    log.warning("delivery %s failed (%s), again at %s", message.id, error, due.isoformat(timespec="seconds"))
    body = delivery.model_copy(update={"attempt": attempt + (not busy)}).model_dump_json().encode()
    services.bus.send(DELIVERIES, [replace(message, body=body, scheduled_at=due)])


def _read(message: Message) -> tuple[Delivery, bytes]:
    """The delivery and what is posted."""
    try:
        delivery = Delivery.model_validate_json(message.body, strict=True)
        return delivery, orjson.dumps(delivery.event)
    except (ValidationError, orjson.JSONEncodeError) as error:  # orjson writes no integer beyond 64 bit
        message_text = "a delivery needs url, attempt and a CloudEvent as event"
        raise InvalidInput("malformed_delivery", message_text, message.id) from error
