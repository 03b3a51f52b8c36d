"""From a trigger's message to the runner and back: what every function does, once."""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import azure.functions as func
import orjson

from shared.domain.errors import DroptuneError, InvalidInput, LaterVersion, ascii_traceback, unforeseen
from shared.domain.events import parse_event
from shared.domain.topology import TOPIC
from shared.pipeline import BY_NAME, Stage
from shared.ports import Message, Services
from shared.records import outbox
from shared.records.unreadable import QUARANTINE, REASON
from shared.runner import EARLY, RETRY, RETRY_AT, Handled, Runner

log = logging.getLogger(__name__)

MAX_LEGIBLE_CHARACTERS = 100
# Retries come once a minute at most, so a run's deadline is over long before there are this many.
MAX_COUNT_DIGITS = 5
# Properties of a message that failed at a function: how often, and at which.
FAILED, FAILED_AT = "droptune.failed", "droptune.failed_at"
WAITED = "droptune.waited"  # how often a drop has waited for a place in its project
CLOUD_EVENTS = ("cloudEvents:", "cloudEvents_")  # of attributes: CloudEvents, AMQP protocol binding, section 3.1.3.1
REPLAYED = "droptune.replayed"  # of a dead letter that a person sent again
# An event's or a command's id up to the run's revision: what follows differs from tick to tick, and from try to try.
_FACT = re.compile(r"(run-[0-9a-f]{12})[a-z0-9._-]*?\.[0-9]+(?![0-9a-z_-])")
FAILED_WAITS_S = (1, 5, 15, 60, 180, 300)
LATER_VERSION_WAITS_S = (1, 5, 15, *[60] * 1440)  # for a host of that version; after a day it is a dead letter
# What a run waits for, and nothing else begins again before its deadline; while some of these fail it keeps its
# endpoint's turn, and others wait. A rollout is looked at again by the next probe, a failure by `reconcile`.
_NEEDED = {
    *("validate_dataset", "conclude_validation", "submit_training", "inspect_job", "submit_evaluation"),
    *("apply_gate", "record_decision", "deploy_model"),
}


class Dispatcher:
    """Gives messages to the runner, over the services of this process.

    The services are asked for at each use: importing the app must work with nothing configured.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services

    @property
    def services(self) -> Services:
        return self._services()

    @property
    def runner(self) -> Runner:
        return Runner(self.services)

    def handle(self, stage: Stage, message: func.ServiceBusMessage) -> Handled | None:
        """Give the message's event to its stage. None: it is malformed and kept in quarantine."""
        try:
            event = parse_event(read_json(message))
        except InvalidInput as error:
            self.quarantine(message, error)
            return None
        properties = properties_of(message)
        retry, early = count_of(properties, RETRY), count_of(properties, EARLY)
        return self.runner.handle(stage, event, retry, early)

    def attempt(self, stage: Stage, work: Callable[[func.ServiceBusMessage], object], message: Any) -> None:
        """Do the function's work. What fails by a bug or a fault of a service is delivered again after a wait.

        The host would give it back at once, and a fault of a second would use up all deliveries. Raises what the last
        attempt raised: the host's own deliveries follow, and then the dead letter.
        """
        properties = properties_of(message)
        failed = count_of(properties, FAILED)
        for count, at in ((FAILED, FAILED_AT), (RETRY, RETRY_AT)):
            if count_of(properties, count) and properties.get(at) in BY_NAME and properties[at] != stage.name:
                return  # the copy is for the function that failed; the topic has brought it here too
        try:
            work(message)
        except Exception as error:
            waits_s = LATER_VERSION_WAITS_S if isinstance(error, LaterVersion) else FAILED_WAITS_S
            fact = _FACT.match(message.message_id or "")  # timers state the same at each tick: one dead letter shows it
            if failed >= len(waits_s):
                if fact and stage.name in _NEEDED and not isinstance(error, DroptuneError):
                    self.runner.refuse(fact[1], stage.name, unforeseen(stage.name, error))
                raise
            mark = outbox.inbox_mark(f"failed-{stage.name}", fact[0]) if fact else ""
            if fact and REPLAYED not in properties and self._is_marked(fact[1], mark):
                log.warning("%s fails at %a as before: %a", stage.name, message.message_id, error)
                return
            trace = "" if isinstance(error, DroptuneError) else ascii_traceback(error)
            log.warning("%s failed at %a, again later: %a%s", stage.name, message.message_id, error, trace)
            ours = (RETRY, RETRY_AT, WAITED, EARLY, REPLAYED)
            kept = {name: text for name, text in properties.items() if name in ours or name.startswith(CLOUD_EVENTS)}
            kept |= {FAILED: str(failed + 1), FAILED_AT: stage.name}
            due = self.services.clock.now() + timedelta(seconds=waits_s[failed])
            copy = replace(as_message(message), properties=kept, scheduled_at=due)
            self.services.bus.send(stage.queue or TOPIC, [copy])
            if fact and failed + 1 == len(waits_s):
                with suppress(Exception):  # it is marked, or the store is what fails
                    self.services.store.batch(fact[1], [outbox.mark_handled(mark)])

    def _is_marked(self, run_id: str, mark: str) -> bool:
        with suppress(Exception):  # the store may be what fails
            return outbox.handled(self.services.store, run_id, mark)
        return False

    def quarantine(self, message: func.ServiceBusMessage, error: InvalidInput) -> None:
        """Keep what is refused for good, with the reason beside it: a redelivery would fail the same way.

        A function in Python cannot settle its message, so the dead letter is a blob.
        """
        path = f"{QUARANTINE}/{_quarantine_name(message.message_id or '', message.get_body())}"
        self.services.blobs.write(path, [message.get_body()])
        reason = {"at": self.services.clock.now().isoformat(), "message_id": message.message_id, **dict(error.problem)}
        self.services.blobs.write(path + REASON, [json.dumps(reason).encode()])
        # In ASCII: an id may hold half of a surrogate pair, which no log can encode.
        log.error("message %a is kept as %s: %s", message.message_id, path, ascii(str(error)))


def _quarantine_name(message_id: str, body: bytes) -> str:
    """A blob name for any id: what is legible of it, and a hash. Senders may give two messages one id, or none."""
    legible = re.sub(r"[^A-Za-z0-9._~@-]", "_", message_id[:MAX_LEGIBLE_CHARACTERS]).lstrip(".")
    return f"{legible or 'no-id'}-{hashlib.sha256(ascii(message_id).encode() + body).hexdigest()[:16]}"


def read_json(message: func.ServiceBusMessage) -> dict[str, Any]:
    """Raises InvalidInput `malformed_message`."""
    try:
        body = orjson.loads(message.get_body())
    except orjson.JSONDecodeError as error:
        raise InvalidInput("malformed_message", "the body is not JSON", message.message_id) from error
    if not isinstance(body, dict):
        raise InvalidInput("malformed_message", "the body is not an object", message.message_id)
    return body


def as_message(message: func.ServiceBusMessage) -> Message:
    return Message(message.message_id, message.label or "", message.get_body(), properties_of(message))


def properties_of(message: func.ServiceBusMessage) -> dict[str, str]:
    """The application properties as text. Most are not ours: Azure SDKs add `Diagnostic-Id`, AMQP sends bytes."""
    return {_text(key): _text(value) for key, value in (message.application_properties or {}).items()}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def count_of(properties: dict[str, str], name: str) -> int:
    """A count that the runner wrote; 0 if there is none or it cannot be the runner's."""
    text = properties.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_COUNT_DIGITS else 0
