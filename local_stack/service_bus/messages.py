"""Messages as they are on the wire: what the emulator reads of them, adds to them and leaves alone."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from enum import IntEnum
from typing import Any

from azure.servicebus._pyamqp._decode import _DECODE_BY_CONSTRUCTOR, decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import Header, Properties
from azure.servicebus._pyamqp.message import Message as AmqpMessage
from azure.servicebus._pyamqp.types import TYPE, VALUE, AMQPTypes

from local_stack.service_bus.amqp import AmqpError, text
from shared.embedded.clock import from_microseconds, to_microseconds
from shared.ports import Message, ReceivedMessage


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
