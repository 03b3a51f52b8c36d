"""EventBus on Azure Service Bus."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from azure.identity import DefaultAzureCredential
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageBatch,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSender,
    ServiceBusSubQueue,
)
from azure.servicebus import exceptions as sdk
from azure.servicebus.amqp import AmqpMessageBodyType

from shared.clients.azure_errors import Meaning, meaning
from shared.domain.errors import DroptuneError, FailureClass, InvalidInput, LockLost, PermanentFailure, Transient
from shared.domain.topology import Topology
from shared.domain.urls import is_loopback
from shared.ports import DEAD_LETTERS, Message, ReceivedMessage
from shared.ports.bus import check, unknown_entity

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


# A receiver that waits lets others settle this often. The SDK reads its socket for 0.2 s at a time anyway.
_TURN_S = 0.2
_SHORTEST_POLL_S = 0.1
_PAGE = 250
# The service adds these to the properties of a dead letter.
_DEAD_LETTER_PROPERTIES = ("DeadLetterReason", "DeadLetterErrorDescription")


class ServiceBusEventBus:
    """One sender and one receiver per entity, for all threads of the process.

    `receive` returns one message at a time: asked for more, the SDK would hold back the first for 0.2 s to see
    whether others follow. A look that finds nothing leaves the service free to push one message to us; if nobody
    receives here by then, the SDK gives it back within five seconds, which counts as no delivery.

    A message can be settled by the process that received it, also after its connection broke. Another process gets
    LockLost: the SDK has no way to settle with a token alone.
    """

    def __init__(self, url: str, topology: Topology, *, identity_client_id: str | None = None) -> None:
        """Opens nothing yet. Raises InvalidInput `bad_bus_url`."""
        self._client = connect(url, identity_client_id)
        self._senders = {name: self._sender(name) for name in (*topology.queues, *topology.topics)}
        self._receivers = {
            name: self._receiver(name) for entity in topology.entities() for name in (entity, entity + DEAD_LETTERS)
        }
        self._held: dict[str, ServiceBusReceivedMessage] = {}  # by lock token, until settled or expired
        self._held_guard = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """Locks stay until they expire."""
        self._closed.set()
        links: list[SdkLink[Any]] = [*self._senders.values(), *self._receivers.values()]
        with ThreadPoolExecutor(len(links)) as pool:  # the SDK sleeps up to a second for each
            for closing in [pool.submit(link.close) for link in links]:
                closing.result()

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        """In one batch if they fit into one.

        Of several batches the first may have been accepted when a later one fails, and where an answer was lost the SDK
        sends again: a message may be there twice, under its one id.
        """
        link = self._known(self._senders, destination)
        for message in messages:
            check(message)
        if not messages:
            return
        with translated(destination), link.use() as sender:
            for batch in _batches(sender, [_outgoing(message) for message in messages]):
                alone = batch.message_id if isinstance(batch, ServiceBusMessage) else None
                with translated(destination, alone or ""):
                    sender.send_messages(batch, timeout=TIMEOUT_S)

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        """Lock the next message, whatever `max_messages`; waits up to `wait_s` for it (0.2 s at least)."""
        link = self._known(self._receivers, entity)
        deadline = time.monotonic() + wait_s
        broken = False
        while True:
            found: list[ServiceBusReceivedMessage] = []
            try:
                with translated(entity), link.use_until(deadline) as receiver:
                    if receiver is not None:
                        poll_s = min(max(deadline - time.monotonic(), _SHORTEST_POLL_S), _TURN_S)
                        found = receiver.receive_messages(max_message_count=1, max_wait_time=poll_s)
            except Transient:
                # A turn leaves the SDK no time to connect again by itself; the next use does.
                if broken:
                    raise
                broken = True
                continue
            if found or self._closed.is_set() or time.monotonic() >= deadline:
                return [self._hold(entity, one) for one in found]

    def peek(self, entity: str, *, limit: int) -> list[ReceivedMessage]:
        return [_seen(entity, one) for one in self._browse(entity, limit)]

    def complete(self, received: ReceivedMessage) -> None:
        self._settle(received, ServiceBusReceiver.complete_message)

    def abandon(self, received: ReceivedMessage) -> None:
        self._settle(received, ServiceBusReceiver.abandon_message)

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        message = self._held_message(received)
        with translated(received.entity, received.message.id), self._receivers[received.entity].use() as receiver:
            locked_until = receiver.renew_message_lock(message, timeout=TIMEOUT_S)
        return replace(received, locked_until=locked_until)

    def depth(self, entity: str) -> int:
        """Messages at rest in an entity, counted one by one: the counts of the service need the right to manage it."""
        return sum(1 for _ in self._browse(entity, None))

    def _known(self, links: dict[str, SdkLink[Any]], entity: str) -> SdkLink[Any]:
        if entity not in links:
            raise unknown_entity(entity)
        if self._closed.is_set():
            raise RuntimeError("the bus is closed")
        return links[entity]

    def _sender(self, name: str) -> SdkLink[ServiceBusSender]:
        # To the service a queue and a topic are addresses of one kind.
        return SdkLink(lambda: self._client.get_queue_sender(name))

    def _receiver(self, entity: str) -> SdkLink[ServiceBusReceiver]:
        sub_queue = ServiceBusSubQueue.DEAD_LETTER if entity.endswith(DEAD_LETTERS) else None
        topic, _, subscription = entity.removesuffix(DEAD_LETTERS).partition("/")
        if subscription:
            return SdkLink(lambda: self._client.get_subscription_receiver(topic, subscription, sub_queue=sub_queue))
        return SdkLink(lambda: self._client.get_queue_receiver(topic, sub_queue=sub_queue))

    def _hold(self, entity: str, message: ServiceBusReceivedMessage) -> ReceivedMessage:
        assert message.locked_until_utc is not None
        now = datetime.now(UTC)
        with self._held_guard:
            for token, held in list(self._held.items()):
                if held.locked_until_utc is not None and held.locked_until_utc < now:
                    del self._held[token]
            self._held[str(message.lock_token)] = message
        return replace(
            _seen(entity, message),
            lock_token=str(message.lock_token),
            locked_until=message.locked_until_utc,
            delivery_count=(message.delivery_count or 0) + 1,
        )

    def _held_message(self, received: ReceivedMessage) -> ServiceBusReceivedMessage:
        with self._held_guard:
            message = self._held.get(received.lock_token)
        if message is None:
            raise LockLost(received.message.id)
        return message

    def _settle(
        self, received: ReceivedMessage, action: Callable[[ServiceBusReceiver, ServiceBusReceivedMessage], None]
    ) -> None:
        message = self._held_message(received)
        with translated(received.entity, received.message.id), self._receivers[received.entity].use() as receiver:
            action(receiver, message)
        with self._held_guard:
            self._held.pop(received.lock_token, None)

    def _browse(self, entity: str, limit: int | None) -> Iterator[ServiceBusReceivedMessage]:
        link = self._known(self._receivers, entity)
        next_number = 1
        while limit is None or limit > 0:
            with translated(entity), link.use() as receiver:
                page_size = _PAGE if limit is None else min(limit, _PAGE)
                page = receiver.peek_messages(page_size, sequence_number=next_number, timeout=TIMEOUT_S)
            if not page:  # a page may be smaller than asked for, by its size in bytes
                return
            yield from page
            next_number = (page[-1].sequence_number or 0) + 1
            if limit is not None:
                limit -= len(page)


def _outgoing(message: Message) -> ServiceBusMessage:
    properties: dict[str | bytes, Any] = dict(message.properties.items())
    return ServiceBusMessage(
        message.body,
        message_id=message.id,
        subject=message.subject,
        application_properties=properties,
        scheduled_enqueue_time_utc=message.scheduled_at,
    )


def _batches(
    sender: ServiceBusSender, messages: list[ServiceBusMessage]
) -> Iterator[ServiceBusMessage | ServiceBusMessageBatch]:
    """As few batches as hold them all; a message alone is sent without one, for which it might be too large."""
    while messages:
        batch = sender.create_message_batch()
        with suppress(sdk.MessageSizeExceededError):
            for message in messages:
                batch.add_message(message)
        size = max(1, len(batch))
        yield batch if size > 1 else messages[0]
        messages = messages[size:]


def _seen(entity: str, message: ServiceBusReceivedMessage) -> ReceivedMessage:
    """As one that was only looked at; `_hold` adds what comes with a lock."""
    assert message.sequence_number is not None
    assert message.enqueued_time_utc is not None
    properties = {_text(key): _text(value) for key, value in (message.application_properties or {}).items()}
    for added in _DEAD_LETTER_PROPERTIES:
        properties.pop(added, None)
    return ReceivedMessage(
        message=Message(
            id=message.message_id or "",
            subject=message.subject or "",
            body=_body(message),
            properties=properties,
            scheduled_at=message.scheduled_enqueue_time_utc,
        ),
        entity=entity,
        lock_token="",
        locked_until=datetime.now(UTC),
        delivery_count=message.delivery_count or 0,
        sequence_number=message.sequence_number,
        enqueued_at=message.enqueued_time_utc,
        dead_letter_reason=message.dead_letter_reason,
        dead_letter_description=message.dead_letter_error_description,
    )


def _body(message: ServiceBusReceivedMessage) -> bytes:
    if message.body_type is AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    return _text(message.body).encode()  # of another sender; its handler reports what is wrong with it


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
