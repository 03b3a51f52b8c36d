"""Every exception of the SDK has a meaning, and each meaning is one of ours."""

from __future__ import annotations

import inspect

import pytest
from azure.servicebus import exceptions as sdk

from shared.clients.azure_errors import BY_CLASS, Meaning, meaning
from shared.clients.service_bus.client import translate, translated
from shared.domain.errors import DroptuneError, FailureClass, InvalidInput, LockLost, PermanentFailure, Transient


def every_exception() -> set[type[Exception]]:
    return {
        one
        for _, one in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(one, Exception) and one.__module__ == sdk.__name__
    }


def test_every_exception_of_the_sdk_has_a_meaning() -> None:
    named = {name for name in BY_CLASS if name.startswith("azure.servicebus.")}
    installed = {f"{sdk.__name__}.{one.__name__}" for one in every_exception()}
    assert named == installed, "an upgrade of azure-servicebus: say what the new class means"


@pytest.mark.parametrize(
    ("error", "ours", "code"),
    [
        (sdk.ServiceBusServerBusyError(), Transient, "service_bus_unavailable"),
        (sdk.ServiceBusConnectionError(), Transient, "service_bus_unavailable"),
        (sdk.ServiceBusQuotaExceededError(), Transient, "service_bus_unavailable"),
        (sdk.OperationTimeoutError(), Transient, "service_bus_unavailable"),
        (sdk.ServiceBusError("Handler failed: Link already closed."), Transient, "service_bus_unavailable"),
        (sdk.ServiceBusAuthorizationError(), PermanentFailure, "service_bus_refused"),
        (sdk.ServiceBusAuthenticationError(), PermanentFailure, "service_bus_refused"),
        (sdk.MessagingEntityNotFoundError(), PermanentFailure, "unknown_entity"),
        (sdk.MessagingEntityAlreadyExistsError(), PermanentFailure, "service_bus_refused"),
        (sdk.MessageSizeExceededError(), InvalidInput, "message_too_large"),
        (sdk.MessageLockLostError(), LockLost, "lock_lost"),
        (sdk.MessageAlreadySettled(action="complete"), LockLost, "lock_lost"),
        (sdk.MessageNotFoundError(), LockLost, "lock_lost"),
    ],
)
def test_an_exception_becomes_ours(error: Exception, ours: type[DroptuneError], code: str) -> None:
    with pytest.raises(ours) as caught, translated("orders", "m1"):
        raise error
    assert caught.value.problem.code == code
    assert caught.value.__cause__ is error
    if isinstance(caught.value, PermanentFailure):
        assert caught.value.failure_class is FailureClass.PLATFORM


def test_only_what_may_work_later_is_retryable() -> None:
    for cls in every_exception():
        error = cls(**({"message": "it failed"} if issubclass(cls, sdk.ServiceBusError) else {"action": "complete"}))
        assert isinstance(translate(error, "orders", "m1"), Transient) == (
            meaning(error) in (Meaning.RETRY, Meaning.UNKNOWN)
        )


def test_a_class_that_is_not_in_the_table_means_what_its_base_means() -> None:
    class BusyToday(sdk.ServiceBusServerBusyError):
        pass

    assert meaning(BusyToday()) is Meaning.RETRY
    assert meaning(OSError()) is Meaning.UNKNOWN


def test_what_is_no_failure_of_the_sdk_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), translated("orders"):
        raise ZeroDivisionError
