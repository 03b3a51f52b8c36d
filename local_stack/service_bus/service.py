"""Service Bus as the embedded bus has it, over AMQP: messages on the wire, addresses, `$cbs`, outcomes, `$management`.

What a queue, a topic and a lock are is `shared.embedded.bus`'s: here is only what clients say and hear of it.
"""

import asyncio
import struct
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from enum import IntEnum
from typing import Any
from urllib.parse import unquote, urlparse

from azure.servicebus._pyamqp._decode import _DECODE_BY_CONSTRUCTOR, decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import Header, Properties
from azure.servicebus._pyamqp.message import Message as AmqpMessage
from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Released
from azure.servicebus._pyamqp.types import TYPE, VALUE, AMQPTypes

from local_stack.service_bus.amqp import AmqpError, AmqpLink, Connection, Fields, make, text
from shared.domain.errors import InvalidInput, LockLost
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import from_microseconds, to_microseconds
from shared.ports import DEAD_LETTERS, Clock, Message, ReceivedMessage

MANAGEMENT = "/$management"
# Documented quota of the Standard tier: a message, and a batch, of 256 KB with its headers.
MAX_MESSAGE_BYTES = 256 * 1024
SESSION_FILTER = b"com.microsoft:session-filter"
LOCK_LOST = "The lock supplied is invalid. Either the lock expired, or the message has already been removed."

Body = dict[str, Any]


class Section(IntEnum):
    """The descriptor of a section of a message."""

    HEADER = 0x70
    ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75


# Messages as they are on the wire: what the emulator reads of them, adds to them and leaves alone.
BATCH_FORMAT = 0x80013700
ACTIVE, SCHEDULED = 0, 2
SCHEDULED_TIME = "x-opt-scheduled-enqueue-time"


def typed(kind: str, value: Any) -> dict[str, Any]:
    """A value of an AMQP type that its Python type does not tell."""
    return {TYPE: kind, VALUE: value}


def timestamp(moment: datetime) -> dict[str, Any]:
    return typed(AMQPTypes.timestamp, to_microseconds(moment) // 1000)


def texts(found: Any) -> dict[str, Any]:
    """A map with strings and symbols as text; empty for what is no map."""
    return {text(key): text(value) for key, value in found.items()} if isinstance(found, dict) else {}


def encoded(**sections: Any) -> bytes:
    return bytes(encode_payload(bytearray(), AmqpMessage(**sections)))


def sections(payload: bytes) -> Iterator[tuple[int, Any, bytes]]:
    """Code, value and bytes of each section; the SDK does not keep the standard's order."""
    rest = memoryview(payload)
    while rest:
        if rest[0] != 0:
            raise AmqpError("amqp:decode-error", "not a message")
        after, value = _DECODE_BY_CONSTRUCTOR[rest[3]](rest[4:])
        yield rest[2], value, bytes(rest[: len(rest) - len(after)])
        rest = after


def unbatched(payload: bytes, message_format: int) -> list[bytes]:
    """A batch is one transfer of a format of its own, whose data sections are the messages."""
    if message_format != BATCH_FORMAT:
        return [payload]
    return [value for code, value, _ in sections(payload) if code == Section.DATA]


def from_wire(payload: bytes) -> Message:
    """For the bus. Its body is the whole message, with its id, from the annotations on: sections as they came."""
    kept, scheduled_at = dict[int, bytes](), None
    for code, value, section in sections(payload):
        if code == Section.HEADER and Header(*value).ttl is not None:
            raise AmqpError("amqp:not-implemented", "time to live is not emulated", 501)
        if code == Section.ANNOTATIONS:
            scheduled_at = value.get(SCHEDULED_TIME.encode())
        if code >= Section.ANNOTATIONS:
            kept[code] = kept.get(code, b"") + section
    body = b"".join(kept[code] for code in sorted(kept))
    properties = decode_payload(memoryview(body)).properties
    subject = text(properties.subject) if properties else None
    due = None if scheduled_at is None else from_microseconds(scheduled_at * 1000)
    return Message("-", subject or "", body, scheduled_at=due)


def to_wire(received: ReceivedMessage) -> bytes:
    """The message as a client gets it: received, if it has a lock token, or seen."""
    message = received.message
    why = {"DeadLetterReason": received.dead_letter_reason}
    why |= {"DeadLetterErrorDescription": received.dead_letter_description}
    added = {key: value for key, value in why.items() if value is not None}
    annotations, properties, before, after = dict[str, Any](), dict[str, Any](), b"", b""
    for code, value, section in sections(message.body):
        match code:
            case Section.ANNOTATIONS:
                annotations = texts(value)
            case Section.APPLICATION_PROPERTIES if added:
                properties = texts(value)
            case Section.PROPERTIES:
                before = section
            case _:
                after += section
    if added:
        before += encoded(application_properties=properties | added)
    # A client that sends a received message again sends the annotations along: ours come last.
    annotations |= {
        "x-opt-enqueued-time": timestamp(received.enqueued_at),
        "x-opt-sequence-number": typed(AMQPTypes.long, received.sequence_number),
        "x-opt-enqueue-sequence-number": typed(AMQPTypes.long, received.sequence_number),
        "x-opt-message-state": typed(AMQPTypes.int, ACTIVE),
    }
    if (due := message.scheduled_at) is not None:
        annotations[SCHEDULED_TIME] = timestamp(due)
        if due > received.locked_until:  # which is now, of one that was only seen
            annotations["x-opt-message-state"] = typed(AMQPTypes.int, SCHEDULED)
    of_lock = None
    if received.lock_token:
        of_lock = {"x-opt-lock-token": uuid.UUID(received.lock_token)}
        annotations["x-opt-locked-until"] = timestamp(received.locked_until)
    failed = received.delivery_count - bool(of_lock)  # the delivery under way does not count yet
    head = encoded(header=Header(delivery_count=failed), delivery_annotations=of_lock, message_annotations=annotations)
    return head + before + after


def request(payload: bytes) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Application properties, body and message id of a request to `$cbs` or `$management`."""
    message = decode_payload(memoryview(payload))
    id = message.properties.message_id if message.properties else None
    return texts(message.application_properties), texts(message.value), id


def answer(id: Any, properties: dict[str, Any], value: Any) -> bytes:
    return encoded(properties=Properties(correlation_id=text(id)), application_properties=properties, value=value)


class ServiceBus:
    """What happens on links, by their address. A link's node is what takes a request, or an entity's name."""

    def __init__(self, bus: SqliteEventBus, topology: Topology, clock: Clock) -> None:
        self._bus, self._clock = bus, clock
        # By destination the entities that a send may reach.
        self._fed: dict[str, tuple[str, ...]] = {name: (name,) for name in topology.queues}
        self._fed |= {topic: tuple(f"{topic}/{one.name}" for one in many) for topic, many in topology.topics.items()}
        paths = {entity.replace("/", "/subscriptions/"): entity for entity in topology.entities()}
        paths |= {path + DEAD_LETTERS: entity + DEAD_LETTERS for path, entity in paths.items()}
        self._sources = {path.lower(): entity for path, entity in paths.items()}
        self._destinations = {name.lower(): name for name in self._fed}
        self._receivers: dict[str, list[AmqpLink]] = defaultdict(list)
        self._dirty: set[str] = set()  # entities that may have a message to deliver
        self.connections: set[Connection] = set()
        self.to_flush: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()

    def commit(self) -> None:
        """Deliver, then answer: all is stored by then, so what a client has an answer for survives a kill."""
        while self._dirty:
            self._deliver(self._dirty.pop())
        while self.to_flush:
            self.to_flush.pop().flush()
        if self._timer:
            self._timer.cancel()
        if (due := self._bus.next_due()) is not None:
            wait_s = max(0.0, (due - self._clock.now()).total_seconds()) + 0.001
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.tick)

    def tick(self) -> None:
        self._bus.catch_up()
        self._dirty.update(self._receivers)
        self.commit()

    def _deliver(self, entity: str) -> None:
        """In order, to the receivers in turn, as far as they gave credit."""
        links = self._receivers[entity]
        while link := next((link for link in links if link.ready), None):
            found = self._bus.receive(entity, max_messages=1, wait_s=0)
            if not found:
                return
            # The client derives the lock token from the tag, so it is the token's 16 bytes.
            token = uuid.UUID(found[0].lock_token)
            link.send(to_wire(found[0]), token.bytes_le, context=(entity, token))
            links.remove(link)
            links.append(link)

    def attach(self, link: AmqpLink) -> list[Any]:
        path = _path(link.address)
        if path == "$cbs":
            link.node = self._authorize
        elif path.endswith(MANAGEMENT):
            entity = _known(path.removesuffix(MANAGEMENT), self._destinations | self._sources)
            link.node = lambda link, payload: self._manage(link, payload, entity)
        elif link.server_sends:
            if SESSION_FILTER in (_at(link.source, 7) or {}):
                raise AmqpError("amqp:not-allowed", "sessions are not emulated")
            link.node = _known(path, self._sources)
        else:
            if "/subscriptions/" in path or path.endswith(DEAD_LETTERS):
                raise AmqpError("amqp:not-allowed", f"a message cannot be sent to {path}")
            link.node = _known(path, self._destinations)
            batch_size = typed(AMQPTypes.ulong, MAX_MESSAGE_BYTES)
            return [MAX_MESSAGE_BYTES, {"com.microsoft:max-message-batch-size": batch_size}]
        return [None, None]

    def attached(self, link: AmqpLink) -> None:
        if isinstance(link.node, str) and link.server_sends:
            self._receivers[link.node].append(link)

    def detached(self, link: AmqpLink) -> None:
        """Locks stay: they are the token's, and run out by themselves."""
        if isinstance(link.node, str) and link in self._receivers[link.node]:
            self._receivers[link.node].remove(link)

    def credited(self, link: AmqpLink) -> None:
        if isinstance(link.node, str):
            self._deliver(link.node)

    def arrived(self, link: AmqpLink, payload: bytes, message_format: int) -> None:
        if not isinstance(link.node, str):
            link.node(link, payload)
            return
        if len(payload) > MAX_MESSAGE_BYTES:
            raise AmqpError("amqp:link:message-size-exceeded", f"{len(payload)} > {MAX_MESSAGE_BYTES}")
        with _translated():
            self._bus.send(link.node, [from_wire(one) for one in unbatched(payload, message_format)])
        self._dirty.update(self._fed[link.node])

    def settled(self, context: Any, outcome: str, fields: Fields) -> Any:
        entity, token = context
        match outcome:
            case "rejected":
                self._settle(entity, token, "suspended", {})
            case "released":
                self._settle(entity, token, "released", {})
                return Released()
            case "modified":
                if _at(fields, 1):
                    raise AmqpError("amqp:not-implemented", "deferral is not emulated", 501)
                self._settle(entity, token, "abandoned", texts(_at(fields, 2)))
                return make(Modified)
        self._settle(entity, token, "completed", {})
        return Accepted()

    def _settle(self, entity: str, token: uuid.UUID, how: str, properties: Body) -> None:
        if properties:
            raise AmqpError("amqp:not-implemented", "a settlement changes no properties here", 501)
        with _translated():
            received = self._bus.locked(entity, token.hex)
            match how:
                case "completed":
                    self._bus.complete(received)
                case "abandoned":
                    self._bus.abandon(received)
                case "released":  # no attempt: the client gives back what it never looked at
                    self._bus.abandon(replace(received, delivery_count=received.delivery_count - 1))
                case _:
                    raise AmqpError("amqp:not-implemented", f"disposition {how} is not emulated", 501)
        self._dirty.update((entity, entity + DEAD_LETTERS))

    def _authorize(self, link: AmqpLink, payload: bytes) -> None:
        """Any token is good: who may do what is not what this emulates."""
        _, _, id = request(payload)
        _reply(link, answer(id, {"status-code": typed(AMQPTypes.int, 202), "status-description": "Accepted"}, None))

    def _manage(self, link: AmqpLink, payload: bytes, entity: str) -> None:
        properties, body, id = request(payload)
        operation = str(properties.get("operation")).removeprefix("com.microsoft:")
        operations = {"renew-lock": self._renew, "peek-message": self._peek, "update-disposition": self._update}
        status, value = _status(200, "OK"), Body()
        try:
            if operation not in operations:
                raise AmqpError("amqp:not-implemented", f"operation {operation} is not emulated", 501)
            value = operations[operation](entity, body)
            if not value and operation == "peek-message":
                status = _status(204, "No content")
        except AmqpError as error:
            status = _status(error.code, error.description)
            status["errorCondition"] = typed(AMQPTypes.symbol, error.condition)
        _reply(link, answer(id, status, value))

    def _renew(self, entity: str, body: Body) -> Body:
        with _translated():
            held = [self._bus.renew_lock(self._bus.locked(entity, _token(one).hex)) for one in body["lock-tokens"]]
        return {"expirations": typed(AMQPTypes.array, [timestamp(one.locked_until) for one in held])}

    def _peek(self, entity: str, body: Body) -> Body:
        found = self._bus.peek(entity, limit=body["message-count"], first=body["from-sequence-number"])
        return {"messages": [{"message": to_wire(one)} for one in found]} if found else {}

    def _update(self, entity: str, body: Body) -> Body:
        properties = texts(body.get("properties-to-modify"))
        for one in body["lock-tokens"]:
            self._settle(entity, _token(one), body["disposition-status"], properties)
        return {}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except LockLost as error:
        raise AmqpError("com.microsoft:message-lock-lost", LOCK_LOST, 410) from error
    except InvalidInput as error:
        too_large = error.problem.code == "message_too_large"
        condition = "amqp:link:message-size-exceeded" if too_large else "amqp:not-allowed"
        raise AmqpError(condition, error.problem.message) from error


def _known(path: str, names: dict[str, str]) -> str:
    if path not in names:
        raise AmqpError("amqp:not-found", f"The messaging entity '{path}' could not be found.", 404)
    return names[path]


def _status(code: int, description: str) -> dict[str, Any]:
    return {"statusCode": typed(AMQPTypes.int, code), "statusDescription": description}


def _at(fields: Fields | None, index: int) -> Any:
    """A field of a list whose last fields may be left out."""
    return fields[index] if fields and index < len(fields) else None


def _path(address: str | None) -> str:
    """Clients write `amqps://HOST:PORT/entity` or the bare path; the case of a path does not matter."""
    if address is None:
        raise AmqpError("amqp:invalid-field", "no address")
    return unquote(urlparse(address).path if "://" in address else address).strip("/").lower()


def _reply(link: AmqpLink, payload: bytes) -> None:
    """On the link of the same session that reads from the node the request was written to."""
    address = _path(link.address)
    for other in link.session.links.values():
        if other.server_sends and _path(other.address) == address:
            other.send(payload, struct.pack(">I", other.delivery_count))
            return
    raise AmqpError("amqp:not-found", "no response link")


def _token(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
