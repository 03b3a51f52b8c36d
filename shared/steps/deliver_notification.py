"""One attempt at one delivery; the next attempt is scheduled until it is delivered or given up."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson

from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from shared.ports import Message, Services
from shared.steps.notify import DELIVERIES

log = logging.getLogger(__name__)

# Waits after the first, second... failed attempt: the schedule Standard Webhooks recommends.
WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)


def deliver_notification(message: Message, services: Services) -> None:
    """Raises InvalidInput `malformed_delivery`."""
    order = _read(message)
    event_id = str(order["event"]["id"])
    try:
        services.notifier.deliver(order["url"], message.id, orjson.dumps(order["event"]))
    except PermanentFailure as error:
        log.error("delivery %s given up: %s", event_id, error)
    except Transient as error:
        _again(message, order, error, services)
    else:
        log.info("delivery %s done in attempt %d", event_id, order["attempt"])


def _again(message: Message, order: dict[str, Any], error: Transient, services: Services) -> None:
    attempt = order["attempt"]
    if attempt > len(WAITS_S):
        log.error("delivery %s given up after %d attempts: %s", message.id, attempt, error)
        return
    due = services.clock.now() + timedelta(seconds=WAITS_S[attempt - 1])
    log.warning("delivery %s failed (%s), again at %s", message.id, error, due.isoformat(timespec="seconds"))
    body = orjson.dumps({**order, "attempt": attempt + 1})
    services.bus.send(DELIVERIES, [replace(message, body=body, scheduled_at=due)])


def _read(message: Message) -> dict[str, Any]:
    try:
        order = orjson.loads(message.body)
        if isinstance(order["url"], str) and isinstance(order["attempt"], int) and "id" in order["event"]:
            return dict(order)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise InvalidInput("malformed_delivery", "a delivery needs url, attempt and event", message.id)
