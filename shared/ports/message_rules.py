"""What Service Bus refuses to be sent; every bus refuses the same, so that a laptop finds it first."""

import json

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure
from shared.ports.bus import Message

# Quotas of the Standard tier: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID_CHARACTERS = 128


def check(message: Message) -> None:
    """Raises InvalidInput `bad_message_id`, `message_too_large` or `naive_time`."""
    if not 1 <= len(message.id) <= MAX_ID_CHARACTERS:
        raise InvalidInput(
            "bad_message_id", f"a message id has 1 to {MAX_ID_CHARACTERS} characters: {message.id!r}", "id"
        )
    properties = json.dumps(message.properties)
    size = len(message.body) + len(properties) + len(message.subject.encode()) + len(message.id.encode())
    if size > MAX_MESSAGE_BYTES:
        raise InvalidInput(
            "message_too_large", f"message {message.id} has {size} bytes, the maximum is {MAX_MESSAGE_BYTES}"
        )
    if message.scheduled_at is not None and message.scheduled_at.tzinfo is None:
        raise InvalidInput("naive_time", f"message {message.id} is scheduled without a time zone", "scheduled_at")


def unknown_entity(entity: str) -> PermanentFailure:
    """A platform that was not set up as the program expects; the person who brought the data is not at fault."""
    return PermanentFailure(FailureClass.PLATFORM, "unknown_entity", f"the bus has no entity {entity}", entity)
