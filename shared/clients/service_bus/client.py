"""EventBus on Azure Service Bus."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import (
    ServiceBusMessage,
    ServiceBusMessageBatch,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSender,
    ServiceBusSubQueue,
)
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import MessageSizeExceededError

from shared.clients.service_bus.links import TIMEOUT_S, SdkLink, connect, translated
from shared.domain.errors import LockLost, Transient
from shared.domain.topology import Topology
from shared.ports import DEAD_LETTERS, Message, ReceivedMessage
from shared.ports.bus import check, unknown_entity

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
        with suppress(MessageSizeExceededError):
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
