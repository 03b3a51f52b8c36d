"""What an exception of the Service Bus SDK means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from azure.servicebus import exceptions as sdk

from shared.domain.errors import DroptuneError, FailureClass, InvalidInput, LockLost, PermanentFailure, Transient
from shared.ports.message_rules import unknown_entity


class BusErrorMeaning(Enum):
    RETRY = auto()  # not done, may work later
    CONFLICT = auto()  # another receiver holds or has settled it
    EXISTS = auto()
    PERMANENT = auto()  # the same call will never work
    UNKNOWN = auto()  # perhaps done: all we send carries an id by which a repeat is known, so it is tried again


# Every class of `azure.servicebus.exceptions`; a test fails when an upgrade of the SDK adds one.
MEANINGS: dict[type[Exception], BusErrorMeaning] = {
    sdk.ServiceBusError: BusErrorMeaning.UNKNOWN,
    sdk.ServiceBusConnectionError: BusErrorMeaning.RETRY,
    sdk.ServiceBusCommunicationError: BusErrorMeaning.RETRY,
    sdk.ServiceBusServerBusyError: BusErrorMeaning.RETRY,
    sdk.OperationTimeoutError: BusErrorMeaning.UNKNOWN,
    sdk.MessagingEntityDisabledError: BusErrorMeaning.RETRY,  # a person disabled it, for maintenance most likely
    sdk.ServiceBusQuotaExceededError: BusErrorMeaning.RETRY,  # full until its receivers have caught up
    sdk.ServiceBusAuthenticationError: BusErrorMeaning.PERMANENT,
    sdk.ServiceBusAuthorizationError: BusErrorMeaning.PERMANENT,
    sdk.MessagingEntityNotFoundError: BusErrorMeaning.PERMANENT,
    sdk.MessageSizeExceededError: BusErrorMeaning.PERMANENT,
    sdk.MessagingEntityAlreadyExistsError: BusErrorMeaning.EXISTS,
    sdk.MessageAlreadySettled: BusErrorMeaning.CONFLICT,
    sdk.MessageLockLostError: BusErrorMeaning.CONFLICT,
    sdk.MessageNotFoundError: BusErrorMeaning.CONFLICT,
    sdk.AutoLockRenewFailed: BusErrorMeaning.CONFLICT,
    sdk.AutoLockRenewTimeout: BusErrorMeaning.CONFLICT,
    sdk.SessionLockLostError: BusErrorMeaning.CONFLICT,
    sdk.SessionCannotBeLockedError: BusErrorMeaning.CONFLICT,
}


def meaning(error: Exception) -> BusErrorMeaning:
    """Of the error's class, or of the nearest base that has one."""
    return next((MEANINGS[cls] for cls in type(error).__mro__ if cls in MEANINGS), BusErrorMeaning.UNKNOWN)


def translate(error: Exception, entity: str, message_id: str) -> DroptuneError:
    """Ours for an exception of the SDK at an entity, while it dealt with a message (empty if with none)."""
    text = str(error).strip().split("\n", 1)[0][:1000]
    match error:
        case sdk.MessagingEntityNotFoundError():
            return unknown_entity(entity)
        case sdk.MessageSizeExceededError():
            return InvalidInput("message_too_large", f"{entity} takes no message as large as {message_id}: {text}")
    match meaning(error):
        case BusErrorMeaning.CONFLICT:
            return LockLost(message_id)
        case BusErrorMeaning.PERMANENT | BusErrorMeaning.EXISTS:
            return PermanentFailure(FailureClass.PLATFORM, "service_bus_refused", f"{entity}: {text}", entity)
        case _:
            return Transient("service_bus_unavailable", f"{entity}: {text}")


@contextmanager
def translated(entity: str, message_id: str = "") -> Iterator[None]:
    """Raises failures of the SDK as ours."""
    try:
        yield
    except (sdk.ServiceBusError, sdk.MessageAlreadySettled) as error:
        raise translate(error, entity, message_id) from error
