"""Messages as they are on the wire: what the broker reads of them, adds to them and leaves alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from azure.servicebus._pyamqp._decode import _DECODE_BY_CONSTRUCTOR, decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import Header, Message, Properties
from azure.servicebus._pyamqp.types import TYPE, VALUE, AMQPTypes

from local_stack.service_bus.amqp import AmqpError, text


class Section(IntEnum):
    """The descriptor of a section of a message."""

    HEADER = 0x70
    DELIVERY_ANNOTATIONS = 0x71
    ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75


BATCH_FORMAT = 0x80013700
ACTIVE, SCHEDULED = 0, 2
SCHEDULED_TIME = "x-opt-scheduled-enqueue-time"


@dataclass(slots=True)
class StoredMessage:
    """A message in an entity. `annotations` and `bare` (from the properties on) are sections as they came."""

    annotations: bytes
    bare: bytes
    scheduled_at: int | None
    state: int = ACTIVE
    sequence: int = 0
    enqueued_sequence: int = 0
    enqueued_at: int = 0
    delivery_count: int = 0  # of failed attempts
    token: bytes | None = None
    locked_until: int = 0

    def copy(self) -> StoredMessage:
        """For one more subscription of a topic."""
        return replace(self)

    @property
    def subject(self) -> str | None:
        """What the rules of subscriptions compare."""
        properties = decode_payload(memoryview(self.bare)).properties
        return text(properties.subject) if properties else None


def typed(kind: str, value: Any) -> dict[str, Any]:
    """A value of an AMQP type that its Python type does not tell."""
    return {TYPE: kind, VALUE: value}


def texts(found: Any) -> dict[str, Any]:
    """A map with strings and symbols as text; empty for what is no map."""
    return {text(key): text(value) for key, value in found.items()} if isinstance(found, dict) else {}


def encoded(**sections: Any) -> bytes:
    return bytes(encode_payload(bytearray(), Message(**sections)))


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


def parse(payload: bytes) -> StoredMessage:
    annotations, bare, scheduled_at = b"", dict[int, bytes](), None
    for code, value, section in sections(payload):
        match code:
            case Section.HEADER:
                if Header(*value).ttl is not None:
                    raise AmqpError("amqp:not-implemented", "time to live is not emulated", 501)
            case Section.DELIVERY_ANNOTATIONS:
                pass
            case Section.ANNOTATIONS:
                annotations, scheduled_at = section, value.get(SCHEDULED_TIME.encode())
            case _:
                bare[code] = bare.get(code, b"") + section
    return StoredMessage(annotations, b"".join(bare[code] for code in sorted(bare)), scheduled_at)


def with_application_properties(bare: bytes, added: dict[str, Any]) -> bytes:
    """The same message with more application properties, its other bytes untouched."""
    before, after, known = b"", b"", dict[str, Any]()
    for code, value, section in sections(bare):
        if code < Section.APPLICATION_PROPERTIES:
            before += section
        elif code == Section.APPLICATION_PROPERTIES:
            known = texts(value)
        else:
            after += section
    return before + encoded(application_properties=known | added) + after


def wire(message: StoredMessage) -> bytes:
    """The message as a client gets it: received, if it is locked, or seen."""
    # A client that sends a received message again sends the broker's annotations along: ours come last.
    annotations = texts(decode_payload(memoryview(message.annotations)).message_annotations)
    if message.scheduled_at is not None:
        annotations[SCHEDULED_TIME] = typed(AMQPTypes.timestamp, message.scheduled_at)
    annotations |= {
        "x-opt-enqueued-time": typed(AMQPTypes.timestamp, message.enqueued_at),
        "x-opt-sequence-number": typed(AMQPTypes.long, message.sequence),
        "x-opt-enqueue-sequence-number": typed(AMQPTypes.long, message.enqueued_sequence),
        "x-opt-message-state": typed(AMQPTypes.int, message.state),
    }
    of_lock = None
    if message.token:
        of_lock = {"x-opt-lock-token": uuid.UUID(bytes_le=message.token)}
        annotations["x-opt-locked-until"] = typed(AMQPTypes.timestamp, message.locked_until)
    header = Header(delivery_count=message.delivery_count)
    return encoded(header=header, delivery_annotations=of_lock, message_annotations=annotations) + message.bare


def request(payload: bytes) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Application properties, body and message id of a request to `$cbs` or `$management`."""
    message = decode_payload(memoryview(payload))
    id = message.properties.message_id if message.properties else None
    return texts(message.application_properties), texts(message.value), id


def answer(id: Any, properties: dict[str, Any], value: Any) -> bytes:
    return encoded(properties=Properties(correlation_id=text(id)), application_properties=properties, value=value)
