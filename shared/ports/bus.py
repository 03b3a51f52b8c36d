"""The port for messages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send. `subject` is the label subscriptions filter on; the body is JSON bytes."""

    id: str
    subject: str
    body: bytes
    properties: dict[str, str] = field(default_factory=dict)
    scheduled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A locked message. `delivery_count` is 1 on the first delivery, as Azure Functions reports it."""

    message: Message
    entity: str
    lock_token: str
    locked_until: datetime
    delivery_count: int
    sequence_number: int
    enqueued_at: datetime
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None


DEAD_LETTERS = "/$deadletterqueue"


class Publisher(Protocol):
    """Sends to queues and topics: all that steps and the runner need."""

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        """Durably accept messages for a queue or a topic; raises Transient if not accepted.

        A topic copies a message to each subscription that wants its subject.
        """


class EventBus(Publisher, Protocol):
    """Queues and topics with peek-lock, as Service Bus has them.

    An entity is `queue`, `topic/subscription`, or either followed by `/$deadletterqueue`. One that does not exist
    raises PermanentFailure. A message over 256 KiB raises InvalidInput. In Azure the Functions host receives the
    messages of queues and subscriptions; the local host does it with `renew_lock`.
    """

    def peek(self, entity: str, *, limit: int) -> list[ReceivedMessage]:
        """Up to `limit` messages from the oldest on, locked and scheduled ones too, without locking any.

        `delivery_count` is the number of deliveries that failed: abandoned, or their lock expired. `lock_token` is
        empty, so that what was only seen cannot be settled (LockLost); `locked_until` is the moment of looking.
        """

    def depth(self, entity: str) -> int:
        """Messages at rest in an entity: active, locked and scheduled."""

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        """Lock up to `max_messages` in their order, perhaps fewer; waits up to `wait_s` for the first one."""

    def complete(self, received: ReceivedMessage) -> None:
        """Remove the message. Raises LockLost if the lock has expired."""

    def abandon(self, received: ReceivedMessage) -> None:
        """Unlock at once; at the maximum delivery count the message is dead-lettered. Raises LockLost."""

    def close(self) -> None:
        """Release files and connections; a waiting `receive` returns nothing."""

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        """Lock for the full duration from now; returns the message with its new `locked_until`. Raises LockLost."""


# Quotas of the Standard tier: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID_CHARACTERS = 128


def check(message: Message) -> None:
    """Raises InvalidInput `bad_message_id`, `message_too_large` or `naive_time`."""
    if not 1 <= len(message.id) <= MAX_ID_CHARACTERS:
        problem = f"a message id has 1 to {MAX_ID_CHARACTERS} characters: {message.id!r}"
        raise InvalidInput("bad_message_id", problem, "id")
    properties = json.dumps(message.properties)
    size = len(message.body) + len(properties) + len(message.subject.encode()) + len(message.id.encode())
    if size > MAX_MESSAGE_BYTES:
        problem = f"message {message.id} has {size} bytes, the maximum is {MAX_MESSAGE_BYTES}"
        raise InvalidInput("message_too_large", problem)
    if message.scheduled_at is not None and message.scheduled_at.tzinfo is None:
        raise InvalidInput("naive_time", f"message {message.id} is scheduled without a time zone", "scheduled_at")


def unknown_entity(entity: str) -> PermanentFailure:
    """A platform that was not set up as the program expects; the person who brought the data is not at fault."""
    return PermanentFailure(FailureClass.PLATFORM, "unknown_entity", f"the bus has no entity {entity}", entity)
