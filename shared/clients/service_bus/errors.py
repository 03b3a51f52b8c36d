"""What an exception of the Service Bus SDK means: by the table of all Azure SDKs, azure_errors.toml."""

from collections.abc import Iterator
from contextlib import contextmanager

from azure.servicebus import exceptions as sdk

from shared.clients.azure_errors import Meaning, meaning
from shared.domain.errors import DroptuneError, FailureClass, InvalidInput, LockLost, PermanentFailure, Transient
from shared.ports.message_rules import unknown_entity


def translate(error: Exception, entity: str, message_id: str) -> DroptuneError:
    """Ours for an exception of the SDK at an entity, while it dealt with a message (empty if with none)."""
    text = str(error).strip().split("\n", 1)[0][:1000]
    match error:
        case sdk.MessagingEntityNotFoundError():
            return unknown_entity(entity)
        case sdk.MessageSizeExceededError():
            return InvalidInput("message_too_large", f"{entity} takes no message as large as {message_id}: {text}")
    match meaning(error):
        case Meaning.CONFLICT:
            return LockLost(message_id)
        case Meaning.PERMANENT | Meaning.EXISTS:
            return PermanentFailure(FailureClass.PLATFORM, "service_bus_refused", f"{entity}: {text}", entity)
        case _:  # not done, or perhaps done: all we send carries an id by which a repeat is known
            return Transient("service_bus_unavailable", f"{entity}: {text}")


@contextmanager
def translated(entity: str, message_id: str = "") -> Iterator[None]:
    """Raises failures of the SDK as ours."""
    try:
        yield
    except (sdk.ServiceBusError, sdk.MessageAlreadySettled) as error:
        raise translate(error, entity, message_id) from error
