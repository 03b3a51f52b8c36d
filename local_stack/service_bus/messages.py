"""Messages as they are on the wire: what the broker reads of them, adds to them and leaves alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from local_stack.service_bus.amqp import AmqpError
from local_stack.service_bus.codec import (
    Int,
    Symbol,
    Timestamp,
    UInt,
    map_of,
    put,
    raw_fields,
    raw_map,
    skip,
    take,
    without,
)


class Section(IntEnum):
    """The descriptor of a section of a message."""

    HEADER = 0x70
    DELIVERY_ANNOTATIONS = 0x71
    ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75
    VALUE = 0x77


BATCH_FORMAT = 0x80013700
ACTIVE, SCHEDULED = 0, 2

# Annotations that only the broker may set: a client that sends a received message again sends them along.
_BROKERS = {
    "x-opt-sequence-number",
    "x-opt-enqueued-time",
    "x-opt-locked-until",
    "x-opt-enqueue-sequence-number",
    "x-opt-message-state",
    "x-opt-lock-token",
}
# Position in the properties section (AMQP 1.0, part 3, 3.2.4) of what a correlation filter compares.
_FILTERED = {
    "MessageId": 0,
    "To": 2,
    "Label": 3,
    "ReplyTo": 4,
    "CorrelationId": 5,
    "ContentType": 6,
    "SessionId": 10,
    "ReplyToSessionId": 12,
}


@dataclass(slots=True)
class StoredMessage:
    """A message in an entity. `bare` is what came, byte for byte, from the properties section on."""

    annotations: tuple[int, bytes]
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
        return StoredMessage(self.annotations, self.bare, self.scheduled_at, enqueued_sequence=self.enqueued_sequence)


@dataclass(slots=True)
class Facts:
    """What rules compare."""

    properties: dict[str, str | None] = field(default_factory=dict)
    application: dict[str, Any] = field(default_factory=dict)

    def match(self, rule: dict[str, Any] | None) -> bool:
        """True and correlation filters; all that a correlation filter names must be equal."""
        return rule is None or all(
            all(self.application.get(key) == wanted for key, wanted in value.items())
            if name == "Properties"
            else self.properties.get(name) == value
            for name, value in rule.items()
        )


def sections(payload: bytes) -> list[tuple[int, int, int, int]]:
    """Code, start of the value, start and end of each section; the SDK does not keep the standard's order."""
    found, at = [], 0
    while at < len(payload):
        if payload[at] != 0:
            raise AmqpError("amqp:decode-error", "not a message")
        code, value_at = take(payload, at + 1)
        end = skip(payload, value_at)
        found.append((code, value_at, at, end))
        at = end
    return found


def section(code: int, value: Any) -> bytes:
    out = bytearray((0, 0x53, code))
    put(out, value)
    return bytes(out)


def unbatched(payload: bytes, message_format: int) -> list[bytes]:
    """A batch is one transfer of a format of its own, whose data sections are the messages."""
    if message_format != BATCH_FORMAT:
        return [payload]
    return [take(payload, value_at)[0] for code, value_at, _, _ in sections(payload) if code == Section.DATA]


def parse(payload: bytes) -> StoredMessage:
    bare: dict[int, bytes] = {}
    annotations: tuple[int, bytes] = (0, b"")
    scheduled_at = None
    for code, value_at, start, end in sections(payload):
        match code:
            case Section.HEADER:
                header = take(payload, value_at)[0] + [None] * 3
                if header[2] is not None:
                    raise AmqpError("amqp:not-implemented", "time to live is not emulated", 501)
            case Section.DELIVERY_ANNOTATIONS:
                pass
            case Section.ANNOTATIONS:
                scheduled_at = take(payload, value_at)[0].get("x-opt-scheduled-enqueue-time")
                annotations = without(raw_map(payload, value_at)[1], _BROKERS)
            case _:
                bare[code] = bare.get(code, b"") + payload[start:end]
    ordered = b"".join(bare[code] for code in sorted(bare))
    return StoredMessage(annotations, ordered, None if scheduled_at is None else int(scheduled_at))


def facts(bare: bytes) -> Facts:
    found = Facts()
    for code, value_at, _, _ in sections(bare):
        if code == Section.PROPERTIES:
            values = take(bare, value_at)[0]
            values += [None] * (13 - len(values))
            found.properties = {
                name: values[i] if values[i] is None else str(values[i]) for name, i in _FILTERED.items()
            }
        elif code == Section.APPLICATION_PROPERTIES:
            found.application = take(bare, value_at)[0]
    return found


def with_application_properties(bare: bytes, added: dict[str, Any]) -> bytes:
    """The same message with more application properties, its other bytes untouched."""
    before, body, after, count = b"", b"", b"", 0
    for code, value_at, start, end in sections(bare):
        if code < Section.APPLICATION_PROPERTIES:
            before += bare[start:end]
        elif code == Section.APPLICATION_PROPERTIES:
            count, body = without(raw_map(bare, value_at)[1], set(added))
        else:
            after += bare[start:end]
    more = bytearray(body)
    for key, value in added.items():
        put(more, key)
        put(more, value)
    return before + section(Section.APPLICATION_PROPERTIES, map_of(count + 2 * len(added), more)) + after


def wire(message: StoredMessage) -> bytes:
    """The message as a client gets it: received, if it is locked, or seen."""
    out = section(Section.HEADER, [None, None, None, None, UInt(message.delivery_count)])
    annotations: dict[str, Any] = {
        "x-opt-enqueued-time": Timestamp(message.enqueued_at),
        "x-opt-sequence-number": message.sequence,
        "x-opt-enqueue-sequence-number": message.enqueued_sequence,
        "x-opt-message-state": Int(message.state),
    }
    if message.token:
        out += section(Section.DELIVERY_ANNOTATIONS, {Symbol("x-opt-lock-token"): uuid.UUID(bytes_le=message.token)})
        annotations["x-opt-locked-until"] = Timestamp(message.locked_until)
    count, body = message.annotations
    encoded = bytearray(body)
    for key, value in annotations.items():
        put(encoded, Symbol(key))
        put(encoded, value)
    return out + section(Section.ANNOTATIONS, map_of(count + 2 * len(annotations), encoded)) + message.bare


def request(payload: bytes) -> tuple[dict[str, Any], Any, Any]:
    """Application properties, body and message id (as encoded) of a request to `$cbs` or `$management`."""
    properties: dict[str, Any] = {}
    body = id = None
    for code, value_at, _, _ in sections(payload):
        if code == Section.PROPERTIES:
            id = raw_fields(payload, value_at, 1)[0]
        elif code == Section.APPLICATION_PROPERTIES:
            properties = take(payload, value_at)[0]
        elif code in (Section.VALUE, Section.DATA):
            body = take(payload, value_at)[0]
    return properties, body, id


def answer(id: Any, properties: dict[str, Any], value: Any) -> bytes:
    """The correlation id repeats the request's id with its AMQP type, or the client waits for ever."""
    return (
        section(Section.PROPERTIES, [None, None, None, None, None, id])
        + section(Section.APPLICATION_PROPERTIES, properties)
        + section(Section.VALUE, value)
    )
