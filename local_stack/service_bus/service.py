"""Service Bus on top of the broker: addresses, `$cbs`, outcomes, `$management`."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlparse

from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Rejected, Released
from azure.servicebus._pyamqp.types import AMQPTypes

from local_stack.service_bus.amqp import AmqpError, AmqpLink, Connection, Fields, make
from local_stack.service_bus.broker import DEAD_LETTERS, Broker, Entity, Queue, Topic
from local_stack.service_bus.messages import StoredMessage, answer, parse, request, texts, typed, unbatched, wire

MANAGEMENT = "/$management"
# Documented quota of the Standard tier: a message, and a batch, of 256 KB with its headers.
MAX_MESSAGE_BYTES = 256 * 1024
SESSION_FILTER = b"com.microsoft:session-filter"

Body = dict[str, Any]


class _Receiver:
    """A link to a client as the broker sees it."""

    def __init__(self, link: AmqpLink) -> None:
        self.link = link

    @property
    def ready(self) -> bool:
        return self.link.ready

    def deliver(self, queue: Queue, message: StoredMessage) -> None:
        # The client derives the lock token from the tag, so it is the token's 16 bytes.
        assert message.token is not None
        self.link.send(wire(message), message.token, context=(queue, message.token))


class ServiceBus:
    """What happens on links, by their address."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
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
        """Deliver and store, then answer: what a client has an answer for survives a kill."""
        self.broker.pump()
        self.broker.store.commit()
        while self._to_flush:
            self._to_flush.pop().flush()
        if self._timer:
            self._timer.cancel()
        if self.broker.timers:
            wait_s = max(0, self.broker.timers[0][0] - self.broker.now()) / 1000 + 0.001
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.tick)

    def tick(self) -> None:
        self.broker.run_timers()
        self.commit()

    def attach(self, link: AmqpLink) -> list[Any]:
        path = _path(link.address)
        if path == "$cbs":
            link.node = self._authorize
        elif path.endswith(MANAGEMENT):
            entity = self._entity(path.removesuffix(MANAGEMENT), (Queue, Topic))
            link.node = lambda link, payload: self._manage(link, payload, entity)
        elif link.server_sends:
            if SESSION_FILTER in (_at(link.source, 7) or {}):
                raise AmqpError("amqp:not-allowed", "sessions are not emulated")
            link.node = self._entity(path, (Queue,))
        else:
            if "/subscriptions/" in path or path.endswith(DEAD_LETTERS):
                raise AmqpError("amqp:not-allowed", f"a message cannot be sent to {path}")
            link.node = self._entity(path, (Queue, Topic))
            batch_size = typed(AMQPTypes.ulong, MAX_MESSAGE_BYTES)
            return [MAX_MESSAGE_BYTES, {"com.microsoft:max-message-batch-size": batch_size}]
        return [None, None]

    def _entity(self, path: str, kinds: tuple[type[Entity], ...]) -> Entity:
        entity = self.broker.entities.get(path)
        if not isinstance(entity, kinds):
            raise AmqpError("amqp:not-found", f"The messaging entity '{path}' could not be found.", 404)
        return entity

    def attached(self, link: AmqpLink) -> None:
        if isinstance(link.node, Queue) and link.server_sends:
            link.node.consumers.append(_Receiver(link))

    def detached(self, link: AmqpLink) -> None:
        """Locks stay: they are the token's, and run out by themselves."""
        if isinstance(link.node, Queue):
            link.node.consumers = [one for one in link.node.consumers if getattr(one, "link", None) is not link]

    def credited(self, link: AmqpLink) -> None:
        if isinstance(link.node, Queue):
            link.node.pump()

    def arrived(self, link: AmqpLink, payload: bytes, message_format: int) -> None:
        if isinstance(link.node, Entity):
            self._send(link.node, payload, message_format)
        else:
            link.node(link, payload)

    def _send(self, entity: Entity, payload: bytes, message_format: int) -> None:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise AmqpError("amqp:link:message-size-exceeded", f"{len(payload)} > {MAX_MESSAGE_BYTES}")
        for message in [parse(one) for one in unbatched(payload, message_format)]:
            entity.submit(message)

    def settled(self, context: Any, outcome: str, fields: Fields) -> Any:
        queue, token = context
        match outcome:
            case "rejected":
                info = texts(_at(_at(fields, 0), 2))
                reason, description = info.pop("DeadLetterReason", None), info.pop("DeadLetterErrorDescription", None)
                queue.dead_letter(token, reason, description, info)
                return make(Rejected)  # with the client's error in it, the client would raise
            case "released":
                queue.release(token)
                return Released()
            case "modified":
                if _at(fields, 1):
                    raise AmqpError("amqp:not-implemented", "deferral is not emulated", 501)
                queue.abandon(token, texts(_at(fields, 2)))
                return make(Modified)
        queue.complete(token)
        return Accepted()

    def _authorize(self, link: AmqpLink, payload: bytes) -> None:
        """Any token is good: who may do what is not what this emulates."""
        _, _, id = request(payload)
        _reply(link, answer(id, {"status-code": typed(AMQPTypes.int, 202), "status-description": "Accepted"}, None))

    def _manage(self, link: AmqpLink, payload: bytes, entity: Entity) -> None:
        properties, body, id = request(payload)
        operation = str(properties.get("operation")).removeprefix("com.microsoft:")
        status = _status(200, "OK")
        value: Body = {}
        try:
            found = _operation(operation)(entity, body)
            if found is None:
                status = _status(204, "No content")
            value = found or {}
        except AmqpError as error:
            status = _status(error.code, error.description)
            status["errorCondition"] = typed(AMQPTypes.symbol, error.condition)
        _reply(link, answer(id, status, value))


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


def _operation(name: str) -> Callable[[Any, Body], Body | None]:
    operations = {"renew-lock": _renew, "peek-message": _peek, "update-disposition": _settle}
    if name not in operations:
        raise AmqpError("amqp:not-implemented", f"operation {name} is not emulated", 501)
    return operations[name]


def _renew(queue: Queue, body: Body) -> Body | None:
    until = [typed(AMQPTypes.timestamp, queue.renew(_token(one))) for one in body["lock-tokens"]]
    return {"expirations": typed(AMQPTypes.array, until)}


def _peek(queue: Queue, body: Body) -> Body | None:
    found = queue.peek(body["from-sequence-number"], body["message-count"])
    return {"messages": [{"message": wire(one)} for one in found]} if found else None


def _settle(queue: Queue, body: Body) -> Body | None:
    properties = texts(body.get("properties-to-modify"))
    for one in body["lock-tokens"]:
        token = _token(one)
        match body["disposition-status"]:
            case "completed":
                queue.complete(token)
            case "abandoned":
                queue.abandon(token, properties)
            case "suspended":
                queue.dead_letter(token, body.get("deadletter-reason"), body.get("deadletter-description"), properties)
            case other:
                raise AmqpError("amqp:not-implemented", f"disposition {other} is not emulated", 501)
    return {}


def _token(value: Any) -> bytes:
    return (value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))).bytes_le
