"""EventBus on SQLite, with the rules of Service Bus."""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.domain.beside import read_beside
from shared.domain.errors import LockLost
from shared.domain.topology import Topology
from shared.embedded.clock import from_microseconds, to_microseconds
from shared.embedded.sqlite import Database
from shared.ports import DEAD_LETTERS, Clock, Message, ReceivedMessage
from shared.ports.bus import check, unknown_entity

MAX_DELIVERY_COUNT_EXCEEDED = "MaxDeliveryCountExceeded"

# A waiting receiver hears of messages sent through its own bus object at once. For those of other
# processes, and for locks and schedules that fall due, it looks again, ever more seldom.
_FIRST_POLL_S = 0.02
_LAST_POLL_S = 0.1

_CLOCKS_DIFFER = 60_000_000  # microseconds, as the columns of times

_FILE = read_beside(__file__)
_SQL: dict[str, str] = {name: sql.replace("COLUMNS", _FILE["columns"]) for name, sql in _FILE["statements"].items()}


class SqliteEventBus:
    """Queues and topics in one SQLite file that threads and processes share. As in Service Bus a lock belongs to its
    token, so another process may settle with it. There is no duplicate detection."""

    def __init__(self, path: str | Path, topology: Topology, clock: Clock) -> None:
        self._database = Database(path, _FILE["steps"])
        self._topology = topology
        self._clock = clock
        entities = topology.entities()
        self._arrived = {
            entity: threading.Condition(self._database.lock)
            for entity in (*entities, *(entity + DEAD_LETTERS for entity in entities))
        }

    def close(self) -> None:
        """Locks stay until they expire."""
        with self._database.lock:
            self._database.close()
            for arrived in self._arrived.values():
                arrived.notify_all()

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        """Of the messages all are stored or none. One that no subscription of its topic wants is dropped."""
        routes = self._routes(destination)
        now = self._now()
        rows = [
            (entity, *columns)
            for message, columns in [(message, _row(message, now)) for message in messages]
            for entity, subjects in routes.items()
            if subjects is None or message.subject in subjects
        ]
        with self._database.write() as connection:
            connection.executemany(_SQL["send"], rows)
            for entity in routes:
                self._arrived[entity].notify_all()

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        """Waits real seconds, whatever the clock."""
        self._require(entity)
        arrived = self._arrived[entity]
        deadline = time.monotonic() + wait_s
        pause_s = _FIRST_POLL_S
        # Looking and waiting under one lock: nothing can be sent unnoticed in between.
        with self._database.lock:
            while True:
                received = self._lock_messages(entity, max_messages)
                remaining_s = deadline - time.monotonic()
                if received or remaining_s <= 0:
                    return received
                arrived.wait(min(pause_s, remaining_s))
                pause_s = min(pause_s * 1.5, _LAST_POLL_S)
                if self._database.closed:
                    return []

    def peek(self, entity: str, *, limit: int, first: int = 0) -> list[ReceivedMessage]:
        """`first`: the least sequence number that is shown."""
        self._require(entity)
        with self._database.lock:
            self._bring_up_to_date(entity)
            with self._database.read() as connection:
                rows = connection.execute(_SQL["peek"], (entity, first, limit)).fetchall()
        now = self._now()
        return [_message_of(entity, "", now, row) for row in rows]

    def complete(self, received: ReceivedMessage) -> None:
        with self._database.write() as connection:
            self._require_lock(connection, received)
            connection.execute(_SQL["delete"], (received.sequence_number,))

    def abandon(self, received: ReceivedMessage) -> None:
        with self._database.write() as connection:
            self._require_lock(connection, received)
            self._unlock(connection, received.entity, received.sequence_number, received.delivery_count)

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        with self._database.write() as connection:
            self._require_lock(connection, received)
            locked_until = self._lock_end()
            connection.execute(_SQL["renew"], (locked_until, received.sequence_number))
        return replace(received, locked_until=from_microseconds(locked_until))

    def depth(self, entity: str) -> int:
        self._require(entity)
        with self._database.lock:
            self._bring_up_to_date(entity)
            with self._database.read() as connection:
                count: int = connection.execute(_SQL["count"], (entity,)).fetchone()[0]
        return count

    def locked(self, entity: str, lock_token: str) -> ReceivedMessage:
        """The message with that lock. Raises LockLost."""
        with self._database.read() as connection:
            row = connection.execute(_SQL["locked"], (entity, self._now(), lock_token)).fetchone()
        if row is None:
            raise LockLost(lock_token)
        found = _message_of(entity, lock_token, row[0], row[1:])
        return replace(found, delivery_count=found.delivery_count + 1)

    def catch_up(self) -> None:
        """Do at all entities what time alone has caused. Else it is done at the next look at each."""
        for entity in self._arrived:
            self._bring_up_to_date(entity)

    def next_due(self) -> datetime | None:
        """When the next lock ends or the next schedule comes."""
        with self._database.read() as connection:
            due = connection.execute(_SQL["next_due"]).fetchone()[0]
        return None if due is None else from_microseconds(due)

    def _now(self) -> int:
        return to_microseconds(self._clock.now())

    def _lock_end(self) -> int:
        return self._now() + round(self._topology.lock_duration_s * 1_000_000)

    def _routes(self, destination: str) -> dict[str, frozenset[str] | None]:
        if destination in self._topology.queues:
            return {destination: None}
        if destination in self._topology.topics:
            return {f"{destination}/{one.name}": one.subjects for one in self._topology.topics[destination]}
        raise unknown_entity(destination)

    def _require(self, entity: str) -> None:
        if entity not in self._arrived:
            raise unknown_entity(entity)

    def _lock_messages(self, entity: str, max_messages: int) -> list[ReceivedMessage]:
        self._bring_up_to_date(entity)
        # An idle receiver only reads: it must not take the file's write lock from those who have work.
        with self._database.read() as connection:
            if connection.execute(_SQL["next"], (entity, 1)).fetchone() is None:
                return []
        with self._database.write() as connection:
            locked_until = self._lock_end()
            rows = connection.execute(_SQL["next"], (entity, max_messages)).fetchall()
            tokens = [uuid.uuid4().hex for _ in rows]
            locks = [(locked_until, token, row[0]) for token, row in zip(tokens, rows, strict=True)]
            connection.executemany(_SQL["lock"], locks)
        received = [_message_of(entity, token, locked_until, row) for token, row in zip(tokens, rows, strict=True)]
        return [replace(one, delivery_count=one.delivery_count + 1) for one in received]

    def _bring_up_to_date(self, entity: str) -> None:
        """Do what time alone has caused: end locks, deliver schedules, dead-letter what failed too often."""
        # A dead-letter queue is also filled by the locks that end in its own entity.
        for name in {entity, entity.removesuffix(DEAD_LETTERS)}:
            now = self._now()
            with self._database.read() as connection:
                if not self._due(connection, name, now):
                    continue
            with self._database.write() as connection:
                now = self._now()  # anew: a lock that another process took meanwhile is not of the future
                for sequence, lock_token, delivery_count in self._due(connection, name, now):
                    if lock_token is None:
                        # As in the service it gets its sequence number and time only now.
                        connection.execute(_SQL["deliver_schedule"], (now, sequence))
                        connection.execute(_SQL["delete"], (sequence,))
                    else:
                        self._unlock(connection, name, sequence, delivery_count + 1)

    def _due(self, connection: sqlite3.Connection, entity: str, now: int) -> list[tuple[Any, ...]]:
        """Locks and schedules whose time has come, or that were written in the future: the clock was set back."""
        longest = now + round(self._topology.lock_duration_s * 1_000_000)
        return connection.execute(_SQL["due"], (entity, now, longest, now + _CLOCKS_DIFFER)).fetchall()

    def _unlock(self, connection: sqlite3.Connection, entity: str, sequence: int, attempts: int) -> None:
        """After a delivery that failed, the `attempts`th: only now it counts, as in the service."""
        connection.execute(_SQL["unlock"], (attempts, sequence))
        limit = self._topology.max_delivery_count
        if attempts >= limit and not entity.endswith(DEAD_LETTERS):
            description = f"the message was delivered {attempts} times, the maximum is {limit}"
            entity += DEAD_LETTERS
            connection.execute(_SQL["dead_letter"], (entity, MAX_DELIVERY_COUNT_EXCEEDED, description, sequence))
        self._arrived[entity].notify_all()

    def _require_lock(self, connection: sqlite3.Connection, received: ReceivedMessage) -> None:
        lock = (received.sequence_number, received.entity, received.lock_token, self._now())
        if connection.execute(_SQL["holds_lock"], lock).fetchone() is None:
            raise LockLost(received.message.id)


def _row(message: Message, now: int) -> tuple[Any, ...]:
    """The columns from due_at to body; raises InvalidInput for what Service Bus would refuse."""
    check(message)
    properties = json.dumps(message.properties)
    scheduled_at = None if message.scheduled_at is None else to_microseconds(message.scheduled_at)
    due_at = scheduled_at if scheduled_at is not None and scheduled_at > now else None
    return due_at, now, message.id, message.subject, properties, scheduled_at, message.body


def _message_of(entity: str, lock_token: str, locked_until: int, columns: Sequence[Any]) -> ReceivedMessage:
    sequence, delivery_count, enqueued_at, reason, description, id, subject, properties, scheduled_at, body = columns
    return ReceivedMessage(
        message=Message(
            id=id,
            subject=subject,
            body=body,
            properties=json.loads(properties),
            scheduled_at=None if scheduled_at is None else from_microseconds(scheduled_at),
        ),
        entity=entity,
        lock_token=lock_token,
        locked_until=from_microseconds(locked_until),
        delivery_count=delivery_count,
        sequence_number=sequence,
        enqueued_at=from_microseconds(enqueued_at),
        dead_letter_reason=reason,
        dead_letter_description=description,
    )
