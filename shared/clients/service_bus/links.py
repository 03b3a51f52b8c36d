"""Senders and receivers of the Service Bus SDK, opened once and shared by threads; and to which namespace."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus import exceptions as sdk

from shared.clients.azure_errors import Meaning, meaning
from shared.domain.errors import DroptuneError, FailureClass, InvalidInput, LockLost, PermanentFailure, Transient
from shared.domain.urls import is_loopback
from shared.ports.bus import unknown_entity

_EMULATOR_FIELDS = ("Endpoint", "SharedAccessKeyName", "SharedAccessKey", "UseDevelopmentEmulator")

# A function has a minute. The SDK's four attempts and the waits between them end within this time.
TIMEOUT_S = 30.0
_ATTEMPT_S = 10.0

Handler = TypeVar("Handler", bound=ServiceBusSender | ServiceBusReceiver)


def connect(url: str, identity_client_id: str | None) -> ServiceBusClient:
    """A client of `sb://NAMESPACE.servicebus.windows.net`, or of an emulator on this machine by connection string.

    Opens no connection. Raises InvalidInput `bad_bus_url`, without quoting what may hold a key.
    """
    if url.startswith("Endpoint="):
        _require_emulator(url)
        return ServiceBusClient.from_connection_string(url, try_timeout=_ATTEMPT_S)
    parts = urlsplit(url)
    if parts.scheme != "sb" or not parts.hostname or parts.netloc != parts.hostname or parts.path not in ("", "/"):
        raise InvalidInput("bad_bus_url", "must be sb://NAMESPACE.servicebus.windows.net", "EVENT_BUS_URL")
    credential = DefaultAzureCredential(managed_identity_client_id=identity_client_id)
    return ServiceBusClient(parts.hostname, credential, try_timeout=_ATTEMPT_S)


def _require_emulator(connection_string: str) -> None:
    """Keys are for the emulator only. Each field once and no other: the SDK takes names in any case, the last wins."""
    pairs = [part.partition("=") for part in connection_string.rstrip(";").split(";")]
    fields = {name: value for name, _, value in pairs}
    if sorted(name for name, _, _ in pairs) != sorted(_EMULATOR_FIELDS) or fields["UseDevelopmentEmulator"] != "true":
        message = f"a connection string must have exactly {'; '.join(_EMULATOR_FIELDS)}=true"
        raise InvalidInput("bad_bus_url", message, "EVENT_BUS_URL")
    if not is_loopback(fields["Endpoint"]):
        raise InvalidInput("bad_bus_url", "a connection string is for an emulator on 127.0.0.1 only", "EVENT_BUS_URL")


class SdkLink(Generic[Handler]):
    """One sender or receiver, for one thread at a time: the SDK's are not thread-safe.

    Opening takes half a second, so it stays open. Who waits for messages uses it in short turns and lets those
    pass who have something to do.
    """

    def __init__(self, create: Callable[[], Handler]) -> None:
        self._create = create
        self._handler: Handler | None = None
        self._turn = threading.Condition()
        self._busy = self._closed = False
        self._urgent = 0

    @contextmanager
    def use(self) -> Iterator[Handler]:
        """The open handler, before those that wait for messages. Raises RuntimeError after `close`."""
        with self._turn:
            self._urgent += 1
            self._turn.wait_for(lambda: not self._busy)
            self._urgent -= 1
            if self._closed:
                raise RuntimeError("the bus is closed")
            self._busy = True
        with self._opened() as handler:
            yield handler

    @contextmanager
    def use_until(self, deadline: float) -> Iterator[Handler | None]:
        """The open handler once no other thread needs it; None if that is after `deadline` (monotonic) or `close`."""
        with self._turn:
            wait_s = max(0.0, deadline - time.monotonic())
            free = self._turn.wait_for(lambda: not self._busy and not self._urgent, wait_s) and not self._closed
            self._busy = self._busy or free
        if not free:
            yield None
            return
        with self._opened() as handler:
            yield handler

    def close(self) -> None:
        """Waits for its present user; gives back what was pushed to us and not received."""
        with self._turn:
            self._turn.wait_for(lambda: not self._busy)
            self._closed = True
            self._turn.notify_all()
            if self._handler is not None:
                self._handler.close()

    @contextmanager
    def _opened(self) -> Iterator[Handler]:
        try:
            if self._handler is None:
                self._handler = self._create()
            # Opens, also again after a failure made the SDK close it; nothing happens if it is open.
            self._handler.__enter__()
            yield self._handler
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()


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
