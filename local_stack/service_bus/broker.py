"""Queues and topics: numbers, locks, attempts, schedules. Knows nothing of frames."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from local_stack.service_bus.amqp import AmqpError
from local_stack.service_bus.messages import ACTIVE, SCHEDULED, StoredMessage, with_application_properties
from local_stack.service_bus.store import BrokerStore
from shared.domain.topology import Topology
from shared.embedded.clock import to_microseconds
from shared.ports import Clock

DEAD_LETTERS = "/$deadletterqueue"
LOCK_LOST = "The lock supplied is invalid. Either the lock expired, or the message has already been removed."


class Consumer(Protocol):
    """A client's receiver."""

    @property
    def ready(self) -> bool: ...
    def deliver(self, queue: Queue, message: StoredMessage) -> None: ...


class Broker:
    """All entities, their timers, and what must be delivered next."""

    def __init__(self, store: BrokerStore, clock: Clock, topology: Topology) -> None:
        self.store, self._clock = store, clock
        self.lock_ms = round(topology.lock_duration_s * 1000)
        self.max_delivery_count = topology.max_delivery_count
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self.dirty: set[Queue] = set()  # have a message to deliver, or a new receiver
        self._ties = itertools.count()
        self.entities: dict[str, Queue | Topic] = {}
        for queue in topology.queues:
            self._add_queue(queue)
        for topic, many in topology.topics.items():
            subscriptions = [(self._add_queue(f"{topic}/subscriptions/{one.name}"), one.subjects) for one in many]
            self.entities[topic.lower()] = Topic(self, topic, subscriptions)

    def _add_queue(self, path: str) -> Queue:
        dead = Queue(self, path + DEAD_LETTERS)
        queue = Queue(self, path, dead)
        self.entities[dead.key], self.entities[queue.key] = dead, queue
        return queue

    def now(self) -> int:
        """Milliseconds since 1970, the unit of AMQP."""
        return to_microseconds(self._clock.now()) // 1000

    def at(self, moment: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (moment, next(self._ties), action))

    def run_timers(self) -> None:
        while self.timers and self.timers[0][0] <= self.now():
            heapq.heappop(self.timers)[2]()

    def pump(self) -> None:
        while self.dirty:
            self.dirty.pop().pump()

    def clear(self) -> None:
        """Remove every message; locks on them are lost."""
        for entity in self.entities.values():
            entity.clear()


class Entity:
    """What queues and topics share: sequence numbers and scheduled messages."""

    def __init__(self, broker: Broker, path: str) -> None:
        self.broker, self.key = broker, path.lower()
        self.numbers = itertools.count(broker.store.last_sequence(self.key) + 1)
        self.scheduled: dict[int, StoredMessage] = {}
        for message in broker.store.load(self.key):
            if message.state == SCHEDULED:
                self._wait_for(message)
            else:
                self.restore(message)

    def submit(self, message: StoredMessage) -> None:
        """A message of a client."""
        if message.scheduled_at is None or message.scheduled_at <= self.broker.now():
            self.accept(message)
            return
        message.sequence, message.enqueued_at = next(self.numbers), self.broker.now()
        message.state = SCHEDULED
        self.broker.store.put(self.key, message)
        self._wait_for(message)

    def _wait_for(self, message: StoredMessage) -> None:
        assert message.scheduled_at is not None
        self.scheduled[message.sequence] = message
        self.broker.at(message.scheduled_at, lambda: self._due(message))

    def _due(self, message: StoredMessage) -> None:
        # Documented: a scheduled message gets its sequence number when it is enqueued.
        if self.scheduled.pop(message.sequence, None):
            self.broker.store.drop(self.key, message)
            message.state = ACTIVE
            self.accept(message)

    def clear(self) -> None:
        for message in self.scheduled.values():
            self.broker.store.drop(self.key, message)
        self.scheduled.clear()

    def accept(self, message: StoredMessage) -> None:
        raise NotImplementedError

    def restore(self, message: StoredMessage) -> None:
        raise NotImplementedError


class Topic(Entity):
    """Copies what arrives to the subscriptions that take its subject; None takes every one."""

    def __init__(self, broker: Broker, path: str, subscriptions: list[tuple[Queue, frozenset[str] | None]]) -> None:
        self.subscriptions = subscriptions
        super().__init__(broker, path)

    def accept(self, message: StoredMessage) -> None:
        message.enqueued_sequence = next(self.numbers)
        self.broker.store.count(self.key, message.enqueued_sequence)
        subject = message.subject
        for queue, subjects in self.subscriptions:
            if subjects is None or subject in subjects:
                queue.accept(message.copy())


class Queue(Entity):
    """A queue, a subscription, or the dead-letter queue of either (then `dead` is None)."""

    def __init__(self, broker: Broker, path: str, dead: Queue | None = None) -> None:
        self.dead = dead
        self.messages: dict[int, StoredMessage] = {}
        self.locks: dict[bytes, StoredMessage] = {}
        self.consumers: list[Consumer] = []
        self._ready: list[int] = []
        self._turn = 0
        super().__init__(broker, path)

    def restore(self, message: StoredMessage) -> None:
        self.messages[message.sequence] = message
        if message.token:
            self._watch_lock(message, message.token)
        else:
            self._offer(message)

    def accept(self, message: StoredMessage) -> None:
        message.sequence, message.enqueued_at = next(self.numbers), self.broker.now()
        message.enqueued_sequence = message.enqueued_sequence or message.sequence
        self._keep(message)

    def _keep(self, message: StoredMessage) -> None:
        self.messages[message.sequence] = message
        self.broker.store.put(self.key, message)
        self._offer(message)

    def _offer(self, message: StoredMessage) -> None:
        heapq.heappush(self._ready, message.sequence)
        self.broker.dirty.add(self)

    def pump(self) -> None:
        """Deliver in order of the numbers, to the receivers in turn, as far as they gave credit."""
        while consumers := [one for one in self.consumers if one.ready]:
            message = self._next()
            if message is None:
                return
            self._turn += 1
            self._lock(message)
            consumers[self._turn % len(consumers)].deliver(self, message)

    def _next(self) -> StoredMessage | None:
        while self._ready:
            message = self.messages.get(heapq.heappop(self._ready))
            if message and not message.token:
                return message
        return None

    def _lock(self, message: StoredMessage) -> None:
        message.token = uuid.uuid4().bytes_le
        message.locked_until = self.broker.now() + self.broker.lock_ms
        self.broker.store.put(self.key, message)
        self._watch_lock(message, message.token)

    def _watch_lock(self, message: StoredMessage, token: bytes) -> None:
        self.locks[token] = message
        self.broker.at(message.locked_until, lambda: self._lock_over(token))

    def _lock_over(self, token: bytes) -> None:
        message = self.locks.get(token)
        if message and message.locked_until <= self.broker.now():  # else settled or renewed meanwhile
            self._give_back(message, failed=True)

    def locked(self, token: bytes) -> StoredMessage:
        message = self.locks.get(token)
        if message is None or message.locked_until <= self.broker.now():
            raise AmqpError("com.microsoft:message-lock-lost", LOCK_LOST, 410)
        return message

    def complete(self, token: bytes) -> None:
        self._remove(self.locked(token))

    def abandon(self, token: bytes, properties: dict[str, Any]) -> None:
        """A failed attempt; at the maximum the message is dead-lettered."""
        message = self.locked(token)
        if properties:
            message.bare = with_application_properties(message.bare, properties)
        self._give_back(message, failed=True)

    def release(self, token: bytes) -> None:
        """Not an attempt: the client gives back what it never looked at."""
        self._give_back(self.locked(token), failed=False)

    def dead_letter(
        self, token: bytes, reason: str | None, description: str | None, properties: dict[str, Any]
    ) -> None:
        self._move_to_dead_letters(self.locked(token), reason, description, properties)

    def renew(self, token: bytes) -> int:
        """The moment, in milliseconds, until which the lock holds now."""
        message = self.locked(token)
        message.locked_until = self.broker.now() + self.broker.lock_ms
        self.broker.store.put(self.key, message)
        self._watch_lock(message, token)
        return message.locked_until

    def peek(self, from_sequence: int, count: int) -> list[StoredMessage]:
        """Locked and scheduled ones too, in order of their numbers."""
        found = [*self.messages.values(), *self.scheduled.values()]
        return sorted((one for one in found if one.sequence >= from_sequence), key=lambda one: one.sequence)[:count]

    def clear(self) -> None:
        super().clear()
        for message in list(self.messages.values()):
            self._remove(message)
        self._ready.clear()

    def _unlock(self, message: StoredMessage) -> None:
        if message.token:
            self.locks.pop(message.token, None)
        message.token, message.locked_until = None, 0

    def _remove(self, message: StoredMessage) -> None:
        self._unlock(message)
        del self.messages[message.sequence]
        self.broker.store.drop(self.key, message)

    def _give_back(self, message: StoredMessage, *, failed: bool) -> None:
        self._unlock(message)
        message.delivery_count += failed
        if self.dead and message.delivery_count >= self.broker.max_delivery_count:
            description = f"Message could not be consumed after {message.delivery_count} delivery attempts."
            self._move_to_dead_letters(message, "MaxDeliveryCountExceeded", description, {})
            return
        self._keep(message)

    def _move_to_dead_letters(
        self, message: StoredMessage, reason: str | None, description: str | None, properties: dict[str, Any]
    ) -> None:
        self._remove(message)
        why = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        given = {key: value for key, value in why.items() if value is not None}
        message.bare = with_application_properties(message.bare, {**properties, **given})
        # A dead letter keeps its number here; what the service does was not seen.
        (self.dead or self)._keep(message)
