"""Commands as messages of the bus."""

import orjson

from shared.domain.commands import Command, to_cloudevent
from shared.ports import Message


def message_of(command: Command) -> Message:
    """The same command has the same message id."""
    return Message(command.id, command.wire_type, orjson.dumps(to_cloudevent(command)))
