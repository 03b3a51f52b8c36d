"""From a trigger's message to the runner and back: what every function does, once."""

from __future__ import annotations

import logging
from typing import Any

import azure.functions as func
import orjson

from shared.domain.errors import InvalidInput
from shared.domain.events import parse_event
from shared.lazy import lazy
from shared.pipeline import BY_NAME
from shared.ports import Message
from shared.runner import EARLY, RETRY, Handled, Runner
from shared.services import services

log = logging.getLogger(__name__)

CONNECTION = "ServiceBusConnection"
QUARANTINE = "quarantine"


@lazy
def runner() -> Runner:
    return Runner(services())


def handle(stage_name: str, message: func.ServiceBusMessage) -> Handled | None:
    """Give the message's event to its stage. None: it is malformed and kept in quarantine."""
    try:
        event = parse_event(read_json(message))
    except InvalidInput as error:
        quarantine(message, error)
        return None
    copies = {str(key): int(value) for key, value in (message.application_properties or {}).items()}
    return runner().handle(BY_NAME[stage_name], event, copies.get(RETRY, 0), copies.get(EARLY, 0))


def read_json(message: func.ServiceBusMessage) -> dict[str, Any]:
    """Raises InvalidInput `malformed_message`."""
    try:
        body = orjson.loads(message.get_body())
    except orjson.JSONDecodeError as error:
        raise InvalidInput("malformed_message", "the body is not JSON", message.message_id) from error
    if not isinstance(body, dict):
        raise InvalidInput("malformed_message", "the body is not an object", message.message_id)
    return body


def quarantine(message: func.ServiceBusMessage, error: InvalidInput) -> None:
    """Keep what cannot be read and never will be: a redelivery would fail the same way."""
    name = "".join(c if c.isalnum() or c in "-._~@" else "_" for c in message.message_id or "no-id")
    services().blobs.write(f"{QUARANTINE}/{name}", [message.get_body()])
    log.error("message %s is kept in quarantine: %s", message.message_id, error)


def as_message(message: func.ServiceBusMessage) -> Message:
    properties = {str(k): str(v) for k, v in (message.application_properties or {}).items()}
    return Message(message.message_id, message.label or "", message.get_body(), properties)
