"""The server's half of AMQP 1.0 (OASIS, part 2: connection, session, link) on asyncio; knows no Service Bus."""

from __future__ import annotations

import asyncio
import logging
import struct
from enum import IntEnum
from typing import Any, Protocol

from local_stack.service_bus.codec import Array, Described, Raw, Symbol, UByte, UInt, ULong, put, take

logger = logging.getLogger(__name__)


class Frame(IntEnum):
    """The descriptor of a performative."""

    OPEN = 0x10
    BEGIN = 0x11
    ATTACH = 0x12
    FLOW = 0x13
    TRANSFER = 0x14
    DISPOSITION = 0x15
    DETACH = 0x16
    END = 0x17
    CLOSE = 0x18
    SASL_MECHANISMS = 0x40
    SASL_INIT = 0x41
    SASL_OUTCOME = 0x44


_MOST_FIELDS = 14
AMQP_HEADER, SASL_HEADER = b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"
MAX_FRAME = 65536
MAX_INCOMING_FRAME = 16 * 1024 * 1024
CREDIT = 1000  # of a link that the client sends on; given again when half of it is used
ACCEPTED = Described(ULong(0x24), [])

Fields = list[Any]


class AmqpError(Exception):
    """An AMQP error condition; `code` is the status of a management answer."""

    def __init__(self, condition: str, description: str, code: int = 400) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition, self.description, self.code = condition, description, code

    def encoded(self) -> Described:
        return Described(ULong(0x1D), [Symbol(self.condition), self.description, None])

    def rejected(self) -> Described:
        """The outcome `rejected` that carries this error."""
        return Described(ULong(0x25), [self.encoded()])


class Service(Protocol):
    """What happens on the links."""

    def connected(self, connection: Connection) -> None: ...
    def disconnected(self, connection: Connection) -> None: ...
    def to_flush(self, connection: Connection) -> None: ...
    def commit(self) -> None:
        """Store what was done since the last call, then flush the connections that have something to say."""

    def attach(self, link: AmqpLink) -> Fields:
        """Max-message-size and properties of the answer; raises AmqpError to refuse."""

    def attached(self, link: AmqpLink) -> None: ...
    def detached(self, link: AmqpLink) -> None: ...
    def credited(self, link: AmqpLink) -> None: ...
    def arrived(self, link: AmqpLink, payload: bytes, message_format: int) -> None:
        """A message of the client; raises AmqpError to reject it."""

    def settled(self, context: Any, state: Described | None) -> Described | None:
        """The client's outcome of a delivery; the outcome to answer. Raises AmqpError to refuse it."""


class AmqpLink:
    """One direction; `server_sends` means messages flow to the client (the client's receiver)."""

    def __init__(self, session: AmqpSession, attach: Fields) -> None:
        self.session, self.name, self.handle = session, attach[0], attach[1]
        self.server_sends = bool(attach[2])
        self.presettled = attach[3] == 1
        self.source, self.target = attach[5], attach[6]
        self.delivery_count = 0 if self.server_sends else (attach[9] or 0)
        self.credit = 0
        self.node: Any = None  # the service's own
        self.partial: list[Any] | None = None  # delivery id, message format, settled, payload

    @property
    def address(self) -> str | None:
        """Of the node at the server's end."""
        terminus = self.source if self.server_sends else self.target
        return terminus.value[0] if terminus and terminus.value else None

    @property
    def ready(self) -> bool:
        """Whether the client takes another message now."""
        return self.credit > 0 and self.session.remote_window > 0

    def grant(self, credit: int) -> None:
        self.credit = credit
        self.session.flow(self)

    def send(self, payload: bytes, tag: bytes, *, context: Any = None) -> None:
        """One message to the client, settled unless there is a context to settle it with; spends one credit."""
        session = self.session
        delivery_id = session.next_out
        session.next_out = (session.next_out + 1) & 0xFFFFFFFF
        self.delivery_count = (self.delivery_count + 1) & 0xFFFFFFFF
        self.credit -= 1
        if context is not None:
            session.unsettled[delivery_id] = context
        room = min(session.connection.remote_max_frame, MAX_FRAME) - 64 - len(tag)
        for at in range(0, len(payload), room):
            more = at + room < len(payload)
            first = [UInt(delivery_id), tag, UInt(0)] if at == 0 else [None, None, None]
            fields = [UInt(self.handle), *first, context is None, more]
            session.emit(Frame.TRANSFER, fields, payload[at : at + room])
            session.remote_window -= 1


class AmqpSession:
    def __init__(self, connection: Connection, channel: int, begin: Fields) -> None:
        self.connection, self.channel = connection, channel
        self.next_in, self.next_out = begin[1] or 0, 0
        self.remote_window = begin[2] or 0
        self.links: dict[int, AmqpLink] = {}
        self.unsettled: dict[int, Any] = {}

    def emit(self, code: int, fields: Fields, payload: bytes = b"") -> None:
        self.connection.emit(self.channel, code, fields, payload)

    def flow(self, link: AmqpLink | None = None, *, drained: bool = False) -> None:
        window = UInt(0x7FFFFFFF)
        fields: Fields = [UInt(self.next_in), window, UInt(self.next_out), window]
        if link:
            fields += [UInt(link.handle), UInt(link.delivery_count), UInt(max(link.credit, 0)), None, drained]
        self.emit(Frame.FLOW, fields)

    def answer_outcome(self, delivery_id: int, state: Described, *, as_receiver: bool) -> None:
        self.emit(Frame.DISPOSITION, [as_receiver, UInt(delivery_id), None, True, state])


class Connection(asyncio.Protocol):
    """Reads frames, hands their meaning to the service, writes once for each chunk that was read."""

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self.service = service
        self.received, self.out = bytearray(), bytearray()
        self.sessions: dict[int, AmqpSession] = {}
        self.opened = self.closing = False
        self.remote_max_frame = 512

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.service.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.disconnected(self)
        for session in list(self.sessions.values()):
            self._end(session)
        self.service.commit()

    def data_received(self, data: bytes) -> None:
        self.received += data
        try:
            self._read_frames()
        except AmqpError as error:
            self._fail(error)
        except Exception as error:  # malformed input must not take the broker down
            logger.exception("connection failed")
            self._fail(AmqpError("amqp:internal-error", repr(error)))
        self.service.commit()

    def emit(self, channel: int, code: int, fields: Fields, payload: bytes = b"", frame_type: int = 0) -> None:
        while fields and fields[-1] is None:
            fields.pop()
        # The one-byte descriptor is required: the SDK reads it at a fixed offset.
        body = bytearray((0, 0x53, code))
        put(body, fields)
        self.out += struct.pack(">IBBH", 8 + len(body) + len(payload), 2, frame_type, channel)
        self.out += body
        self.out += payload
        self.service.to_flush(self)

    def flush(self) -> None:
        if self.out and not self.transport.is_closing():
            self.transport.write(bytes(self.out))
        self.out.clear()
        if self.closing:
            self.transport.close()

    def _fail(self, error: AmqpError) -> None:
        if self.opened and not self.closing:
            self.emit(0, Frame.CLOSE, [error.encoded()])
        self.closing = True
        self.service.to_flush(self)

    def _read_frames(self) -> None:
        data, at = self.received, 0
        while not self.closing and len(data) - at >= 8:
            if data[at : at + 4] == b"AMQP":
                self._protocol_header(bytes(data[at : at + 8]))
                at += 8
                continue
            size, offset, frame_type, channel = struct.unpack_from(">IBBH", data, at)
            if not 8 <= size <= MAX_INCOMING_FRAME:
                raise AmqpError("amqp:connection:framing-error", f"a frame of {size} bytes")
            if len(data) - at < size:
                break
            body = bytes(data[at + 4 * offset : at + size])
            at += size
            if body:  # an empty frame keeps the connection alive
                performative, end = take(body)
                if frame_type == 1:
                    self._sasl(performative)
                else:
                    self._frame(channel, performative.descriptor, performative.value, body[end:])
        del data[:at]

    def _protocol_header(self, header: bytes) -> None:
        self.out += header if header in (SASL_HEADER, AMQP_HEADER) else AMQP_HEADER
        if header == SASL_HEADER:
            # Python asks for ANONYMOUS, .NET for MSSBCBS; the client identifies itself on $cbs.
            self.emit(0, Frame.SASL_MECHANISMS, [Array("symbol", ["MSSBCBS", "ANONYMOUS"])], frame_type=1)
        self.closing = header not in (SASL_HEADER, AMQP_HEADER)
        self.service.to_flush(self)

    def _sasl(self, performative: Described) -> None:
        if performative.descriptor == Frame.SASL_INIT:
            self.emit(0, Frame.SASL_OUTCOME, [UByte(0)], frame_type=1)

    def _frame(self, channel: int, code: int, fields: Fields, payload: bytes) -> None:
        fields += [None] * (_MOST_FIELDS - len(fields))  # trailing nulls are left out on the wire
        match code:
            case Frame.OPEN:
                self.opened = True
                self.remote_max_frame = max(512, fields[2] or 0xFFFFFFFF)
                self.emit(0, Frame.OPEN, ["emulator", None, UInt(MAX_FRAME), None])
                return
            case Frame.BEGIN:
                session = self.sessions[channel] = AmqpSession(self, channel, fields)
                window = UInt(0x7FFFFFFF)
                remote_channel = Raw(b"\x60" + struct.pack(">H", channel))
                session.emit(Frame.BEGIN, [remote_channel, UInt(0), window, window, UInt(255)])
                return
            case Frame.CLOSE:
                for session in list(self.sessions.values()):
                    self._end(session)
                self.emit(0, Frame.CLOSE, [])
                self.closing = True
                return
        if channel not in self.sessions:
            raise AmqpError("amqp:not-found", f"no session on channel {channel}")
        session = self.sessions[channel]
        match code:
            case Frame.ATTACH:
                self._attach(session, fields)
            case Frame.FLOW:
                self._flow(session, fields)
            case Frame.TRANSFER:
                self._transfer(session, fields, payload)
            case Frame.DISPOSITION:
                self._disposition(session, fields)
            case Frame.DETACH:
                link = session.links.pop(fields[0], None)
                if link:
                    self.service.detached(link)
                    session.emit(Frame.DETACH, [UInt(fields[0]), bool(fields[1])])
            case Frame.END:
                self._end(session)
                session.emit(Frame.END, [])

    def _end(self, session: AmqpSession) -> None:
        self.sessions.pop(session.channel, None)
        for link in session.links.values():
            self.service.detached(link)
        session.links.clear()
        session.unsettled.clear()

    def _attach(self, session: AmqpSession, fields: Fields) -> None:
        link = AmqpLink(session, fields)
        initial_count = UInt(0) if link.server_sends else None
        settle_modes = [None if mode is None else UByte(mode) for mode in fields[3:5]]
        head = [link.name, UInt(link.handle), not fields[2]]
        try:
            max_size, properties = self.service.attach(link)
        except AmqpError as error:
            # A refusal is an answer without the server's own terminus, then a detach that says why.
            ends = [None, link.target] if link.server_sends else [link.source, None]
            session.emit(Frame.ATTACH, [*head, None, None, *ends, None, None, initial_count])
            session.emit(Frame.DETACH, [UInt(link.handle), True, error.encoded()])
            return
        session.links[link.handle] = link
        ends = [link.source, link.target]  # the SDK drops a link whose answer lacks one
        session.emit(
            Frame.ATTACH, [*head, *settle_modes, *ends, None, None, initial_count, max_size, None, None, properties]
        )
        if not link.server_sends:
            link.grant(CREDIT)
        self.service.attached(link)

    def _flow(self, session: AmqpSession, fields: Fields) -> None:
        next_in, window, handle, count, credit, drain, echo = (fields[i] for i in (0, 1, 4, 5, 6, 8, 9))
        session.remote_window = ((next_in or 0) + (window or 0) - session.next_out) & 0xFFFFFFFF
        link = session.links.get(handle)
        if link is None or not link.server_sends:
            if echo:
                session.flow(link)
            return
        granted = ((count or 0) + (credit or 0) - link.delivery_count) & 0xFFFFFFFF
        link.credit = granted if granted <= 0x7FFFFFFF else 0
        self.service.credited(link)
        if drain:  # the rest of the credit is returned, with a flow frame
            link.delivery_count = (link.delivery_count + link.credit) & 0xFFFFFFFF
            link.credit = 0
        if drain or echo:
            session.flow(link, drained=bool(drain))

    def _transfer(self, session: AmqpSession, fields: Fields, payload: bytes) -> None:
        handle, delivery_id, _, message_format, settled, more = fields[:6]
        session.next_in = (session.next_in + 1) & 0xFFFFFFFF
        link = session.links.get(handle)
        if link is None:
            raise AmqpError("amqp:session:unattached-handle", f"handle {handle}")
        if link.partial is None:
            link.partial = [delivery_id, message_format or 0, False, bytearray()]
        link.partial[2] |= bool(settled)
        link.partial[3] += payload
        if more:
            return
        (delivery_id, message_format, settled, whole), link.partial = link.partial, None
        link.delivery_count = (link.delivery_count + 1) & 0xFFFFFFFF
        link.credit -= 1
        state = ACCEPTED
        try:
            self.service.arrived(link, bytes(whole), message_format)
        except AmqpError as error:
            state = error.rejected()
        if not settled:
            session.answer_outcome(delivery_id, state, as_receiver=True)
        if link.credit < CREDIT // 2:
            link.grant(CREDIT)

    def _disposition(self, session: AmqpSession, fields: Fields) -> None:
        by_receiver, first, last, settled, state = fields[:5]
        if not by_receiver or (state is None and not settled):
            return
        for delivery_id in range(first, (first if last is None else last) + 1):
            if delivery_id not in session.unsettled:
                continue
            context = session.unsettled.pop(delivery_id)
            try:
                answer = self.service.settled(context, state)
            except AmqpError as error:
                answer = error.rejected()
            if not settled:  # the client waits for the outcome it asked for
                session.answer_outcome(delivery_id, answer or ACCEPTED, as_receiver=False)
