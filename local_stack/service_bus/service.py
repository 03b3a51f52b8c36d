"""Service Bus as the embedded bus has it, over AMQP: addresses, `$cbs`, outcomes, `$management`.

What a queue, a topic and a lock are is `shared.embedded.bus`'s: here is only what clients say and hear of it.
"""

import asyncio
import struct
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlparse

from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Released
from azure.servicebus._pyamqp.types import AMQPTypes

from local_stack.service_bus.amqp import AmqpError, AmqpLink, Connection, Fields, make
from local_stack.service_bus.messages import answer, from_wire, request, texts, timestamp, to_wire, typed, unbatched
from shared.domain.errors import InvalidInput, LockLost
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.ports import DEAD_LETTERS, Clock

MANAGEMENT = "/$management"
# Documented quota of the Standard tier: a message, and a batch, of 256 KB with its headers.
MAX_MESSAGE_BYTES = 256 * 1024
SESSION_FILTER = b"com.microsoft:session-filter"
LOCK_LOST = "The lock supplied is invalid. Either the lock expired, or the message has already been removed."

Body = dict[str, Any]


class ServiceBus:
    """What happens on links, by their address. A link's node is what takes a request, or an entity's name."""

    def __init__(self, bus: SqliteEventBus, topology: Topology, clock: Clock) -> None:
        self._bus, self._clock = bus, clock
        # By destination the entities that a send may reach.
        self._fed: dict[str, tuple[str, ...]] = {name: (name,) for name in topology.queues}
        self._fed |= {topic: tuple(f"{topic}/{one.name}" for one in many) for topic, many in topology.topics.items()}
        paths = {entity.replace("/", "/subscriptions/"): entity for entity in topology.entities()}
        paths |= {path + DEAD_LETTERS: entity + DEAD_LETTERS for path, entity in paths.items()}
        self._sources = {path.lower(): entity for path, entity in paths.items()}
        self._destinations = {name.lower(): name for name in self._fed}
        self._receivers: dict[str, list[AmqpLink]] = defaultdict(list)
        self._dirty: set[str] = set()  # entities that may have a message to deliver
        self.connections: set[Connection] = set()
        self._to_flush: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()

    def connected(self, connection: Connection) -> None:
        self.connections.add(connection)

    def disconnected(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def to_flush(self, connection: Connection) -> None:
        self._to_flush.add(connection)

    def commit(self) -> None:
        """Deliver, then answer: all is stored by then, so what a client has an answer for survives a kill."""
        while self._dirty:
            self._deliver(self._dirty.pop())
        while self._to_flush:
            self._to_flush.pop().flush()
        if self._timer:
            self._timer.cancel()
        if (due := self._bus.next_due()) is not None:
            wait_s = max(0.0, (due - self._clock.now()).total_seconds()) + 0.001
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.tick)

    def tick(self) -> None:
        self._bus.catch_up()
        self._dirty.update(self._receivers)
        self.commit()

    def _deliver(self, entity: str) -> None:
        """In order, to the receivers in turn, as far as they gave credit."""
        links = self._receivers[entity]
        while link := next((link for link in links if link.ready), None):
            found = self._bus.receive(entity, max_messages=1, wait_s=0)
            if not found:
                return
            # The client derives the lock token from the tag, so it is the token's 16 bytes.
            token = uuid.UUID(found[0].lock_token)
            link.send(to_wire(found[0]), token.bytes_le, context=(entity, token))
            links.remove(link)
            links.append(link)

    def attach(self, link: AmqpLink) -> list[Any]:
        path = _path(link.address)
        if path == "$cbs":
            link.node = self._authorize
        elif path.endswith(MANAGEMENT):
            entity = _known(path.removesuffix(MANAGEMENT), self._destinations | self._sources)
            link.node = lambda link, payload: self._manage(link, payload, entity)
        elif link.server_sends:
            if SESSION_FILTER in (_at(link.source, 7) or {}):
                raise AmqpError("amqp:not-allowed", "sessions are not emulated")
            link.node = _known(path, self._sources)
        else:
            if "/subscriptions/" in path or path.endswith(DEAD_LETTERS):
                raise AmqpError("amqp:not-allowed", f"a message cannot be sent to {path}")
            link.node = _known(path, self._destinations)
            batch_size = typed(AMQPTypes.ulong, MAX_MESSAGE_BYTES)
            return [MAX_MESSAGE_BYTES, {"com.microsoft:max-message-batch-size": batch_size}]
        return [None, None]

    def attached(self, link: AmqpLink) -> None:
        if isinstance(link.node, str) and link.server_sends:
            self._receivers[link.node].append(link)

    def detached(self, link: AmqpLink) -> None:
        """Locks stay: they are the token's, and run out by themselves."""
        if isinstance(link.node, str) and link in self._receivers[link.node]:
            self._receivers[link.node].remove(link)

    def credited(self, link: AmqpLink) -> None:
        if isinstance(link.node, str):
            self._deliver(link.node)

    def arrived(self, link: AmqpLink, payload: bytes, message_format: int) -> None:
        if not isinstance(link.node, str):
            link.node(link, payload)
            return
        if len(payload) > MAX_MESSAGE_BYTES:
            raise AmqpError("amqp:link:message-size-exceeded", f"{len(payload)} > {MAX_MESSAGE_BYTES}")
        with _translated():
            self._bus.send(link.node, [from_wire(one) for one in unbatched(payload, message_format)])
        self._dirty.update(self._fed[link.node])

    def settled(self, context: Any, outcome: str, fields: Fields) -> Any:
        entity, token = context
        match outcome:
            case "rejected":
                self._settle(entity, token, "suspended", {})
            case "released":
                self._settle(entity, token, "released", {})
                return Released()
            case "modified":
                if _at(fields, 1):
                    raise AmqpError("amqp:not-implemented", "deferral is not emulated", 501)
                self._settle(entity, token, "abandoned", texts(_at(fields, 2)))
                return make(Modified)
        self._settle(entity, token, "completed", {})
        return Accepted()

    def _settle(self, entity: str, token: uuid.UUID, how: str, properties: Body) -> None:
        if properties:
            raise AmqpError("amqp:not-implemented", "a settlement changes no properties here", 501)
        with _translated():
            received = self._bus.locked(entity, token.hex)
            match how:
                case "completed":
                    self._bus.complete(received)
                case "abandoned":
                    self._bus.abandon(received)
                case "released":  # no attempt: the client gives back what it never looked at
                    self._bus.abandon(replace(received, delivery_count=received.delivery_count - 1))
                case _:
                    raise AmqpError("amqp:not-implemented", f"disposition {how} is not emulated", 501)
        self._dirty.update((entity, entity + DEAD_LETTERS))

    def _authorize(self, link: AmqpLink, payload: bytes) -> None:
        """Any token is good: who may do what is not what this emulates."""
        _, _, id = request(payload)
        _reply(link, answer(id, {"status-code": typed(AMQPTypes.int, 202), "status-description": "Accepted"}, None))

    def _manage(self, link: AmqpLink, payload: bytes, entity: str) -> None:
        properties, body, id = request(payload)
        operation = str(properties.get("operation")).removeprefix("com.microsoft:")
        operations = {"renew-lock": self._renew, "peek-message": self._peek, "update-disposition": self._update}
        status, value = _status(200, "OK"), Body()
        try:
            if operation not in operations:
                raise AmqpError("amqp:not-implemented", f"operation {operation} is not emulated", 501)
            value = operations[operation](entity, body)
            if not value and operation == "peek-message":
                status = _status(204, "No content")
        except AmqpError as error:
            status = _status(error.code, error.description)
            status["errorCondition"] = typed(AMQPTypes.symbol, error.condition)
        _reply(link, answer(id, status, value))

    def _renew(self, entity: str, body: Body) -> Body:
        with _translated():
            held = [self._bus.renew_lock(self._bus.locked(entity, _token(one).hex)) for one in body["lock-tokens"]]
        return {"expirations": typed(AMQPTypes.array, [timestamp(one.locked_until) for one in held])}

    def _peek(self, entity: str, body: Body) -> Body:
        found = self._bus.peek(entity, limit=body["message-count"], first=body["from-sequence-number"])
        return {"messages": [{"message": to_wire(one)} for one in found]} if found else {}

    def _update(self, entity: str, body: Body) -> Body:
        properties = texts(body.get("properties-to-modify"))
        for one in body["lock-tokens"]:
            self._settle(entity, _token(one), body["disposition-status"], properties)
        return {}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except LockLost as error:
        raise AmqpError("com.microsoft:message-lock-lost", LOCK_LOST, 410) from error
    except InvalidInput as error:
        too_large = error.problem.code == "message_too_large"
        condition = "amqp:link:message-size-exceeded" if too_large else "amqp:not-allowed"
        raise AmqpError(condition, error.problem.message) from error


def _known(path: str, names: dict[str, str]) -> str:
    if path not in names:
        raise AmqpError("amqp:not-found", f"The messaging entity '{path}' could not be found.", 404)
    return names[path]


def _status(code: int, description: str) -> dict[str, Any]:
    return {"statusCode": typed(AMQPTypes.int, code), "statusDescription": description}


def _at(fields: Fields | None, index: int) -> Any:
    """A field of a list whose last fields may be left out."""
    return fields[index] if fields and index < len(fields) else None


def _path(address: str | None) -> str:
    """Clients write `amqps://HOST:PORT/entity` or the bare path; the case of a path does not matter."""
    if address is None:
        raise AmqpError("amqp:invalid-field", "no address")
    return unquote(urlparse(address).path if "://" in address else address).strip("/").lower()


def _reply(link: AmqpLink, payload: bytes) -> None:
    """On the link of the same session that reads from the node the request was written to."""
    address = _path(link.address)
    for other in link.session.links.values():
        if other.server_sends and _path(other.address) == address:
            other.send(payload, struct.pack(">I", other.delivery_count))
            return
    raise AmqpError("amqp:not-found", "no response link")


def _token(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
