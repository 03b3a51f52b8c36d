"""The server's half of AMQP 1.0 (OASIS, part 2: connection, session, link) on asyncio; knows no Service Bus.

Frames are encoded and decoded by the codec inside azure-servicebus, the only AMQP 1.0 that is installed. It has no
public name: an upgrade of the SDK shows in the contract suite of the bus.
"""

import asyncio
import logging
import struct
from enum import IntEnum
from typing import Any, Protocol

from azure.servicebus._pyamqp import performatives as frames
from azure.servicebus._pyamqp._decode import decode_frame
from azure.servicebus._pyamqp._encode import encode_frame
from azure.servicebus._pyamqp.endpoints import Source, Target
from azure.servicebus._pyamqp.error import AMQPError
from azure.servicebus._pyamqp.outcomes import Accepted, Rejected

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
    SASL_INIT = 0x41


AMQP_HEADER, SASL_HEADER = b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"
SASL_FRAME = b"\x01"
MAX_FRAME = 65536
MAX_INCOMING_FRAME = 16 * 1024 * 1024
WINDOW = 0x7FFFFFFF
CREDIT = 1000  # of a link that the client sends on; given again when half of it is used

Fields = list[Any]


class AmqpError(Exception):
    """An AMQP error condition; `code` is the status of a management answer."""

    def __init__(self, condition: str, description: str, code: int = 400) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition, self.description, self.code = condition, description, code

    def encoded(self) -> Any:
        return make(AMQPError, condition=self.condition, description=self.description)

    def rejected(self) -> Any:
        """The outcome `rejected` that carries this error."""
        return make(Rejected, error=self.encoded())


def make(kind: Any, **fields: Any) -> Any:
    """A performative, a terminus, an outcome or an error; fields that are not given are left out."""
    return kind(**(dict.fromkeys(kind._fields) | fields))


def text(value: Any) -> Any:
    """Strings and symbols as text: the codec decodes both as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Service(Protocol):
    """What happens on the links."""

    connections: set["Connection"]
    to_flush: set["Connection"]

    def commit(self) -> None:
        """Store what was done since the last call, then flush the connections that have something to say."""

    def attach(self, link: "AmqpLink") -> Fields:
        """Max-message-size and properties of the answer; raises AmqpError to refuse."""

    def attached(self, link: "AmqpLink") -> None: ...
    def detached(self, link: "AmqpLink") -> None: ...
    def credited(self, link: "AmqpLink") -> None: ...
    def arrived(self, link: "AmqpLink", payload: bytes, message_format: int) -> None:
        """A message of the client; raises AmqpError to reject it."""

    def settled(self, context: Any, outcome: str, fields: Fields) -> Any:
        """The client's outcome of a delivery; the outcome to answer. Raises AmqpError to refuse it."""


class AmqpLink:
    """One direction; `server_sends` means messages flow to the client (the client's receiver)."""

    def __init__(self, session: "AmqpSession", attach: Fields) -> None:
        self.session, self.name, self.handle = session, attach[0], attach[1]
        self.server_sends = bool(attach[2])
        self.source, self.target = attach[5], attach[6]
        self.delivery_count = 0 if self.server_sends else (attach[9] or 0)
        self.credit = 0
        self.node: Any = None  # the service's own
        self.partial: list[Any] | None = None  # delivery id, message format, settled, payload

    @property
    def address(self) -> str | None:
        """Of the node at the server's end."""
        return _address(self.source if self.server_sends else self.target)

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
            session.emit(
                make(
                    frames.TransferFrame,
                    handle=self.handle,
                    delivery_id=delivery_id,
                    delivery_tag=tag,
                    message_format=0,
                    settled=context is None,
                    more=at + room < len(payload),
                    payload=payload[at : at + room],
                )
            )
            session.remote_window -= 1


def _address(terminus: Any) -> str | None:
    return text(terminus[0]) if terminus else None


class AmqpSession:
    def __init__(self, connection: "Connection", channel: int, begin: Fields) -> None:
        self.connection, self.channel = connection, channel
        self.next_in, self.next_out = begin[1] or 0, 0
        self.remote_window = begin[2] or 0
        self.links: dict[int, AmqpLink] = {}
        self.unsettled: dict[int, Any] = {}

    def emit(self, frame: Any) -> None:
        self.connection.emit(self.channel, frame)

    def flow(self, link: AmqpLink | None = None, *, drained: bool = False) -> None:
        of_link = {}
        if link:
            credit = max(link.credit, 0)
            of_link = {"handle": link.handle, "delivery_count": link.delivery_count, "link_credit": credit}
        self.emit(
            make(
                frames.FlowFrame,
                next_incoming_id=self.next_in,
                incoming_window=WINDOW,
                next_outgoing_id=self.next_out,
                outgoing_window=WINDOW,
                drain=drained,
                **of_link,
            )
        )

    def answer_outcome(self, delivery_id: int, state: Any, *, as_receiver: bool) -> None:
        self.emit(make(frames.DispositionFrame, role=as_receiver, first=delivery_id, settled=True, state=state))


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
        self.service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.connections.discard(self)
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

    def emit(self, channel: int, frame: Any, frame_type: bytes = b"\x00") -> None:
        header, body = encode_frame(frame, frame_type)
        self.out += header + struct.pack(">H", channel) + (body or b"")
        self.service.to_flush.add(self)

    def flush(self) -> None:
        if self.out and not self.transport.is_closing():
            self.transport.write(bytes(self.out))
        self.out.clear()
        if self.closing:
            self.transport.close()

    def _fail(self, error: AmqpError) -> None:
        if self.opened and not self.closing:
            self.emit(0, make(frames.CloseFrame, error=error.encoded()))
        self.closing = True
        self.service.to_flush.add(self)

    def _read_frames(self) -> None:
        data, at = self.received, 0
        while not self.closing and len(data) - at >= 8:
            if data[at : at + 4] == b"AMQP":
                self._protocol_header(bytes(data[at : at + 8]))
                at += 8
                continue
            size, offset, _, channel = struct.unpack_from(">IBBH", data, at)
            if not 8 <= size <= MAX_INCOMING_FRAME:
                raise AmqpError("amqp:connection:framing-error", f"a frame of {size} bytes")
            if len(data) - at < size:
                break
            body = bytes(data[at + 4 * offset : at + size])
            at += size
            if body:  # an empty frame keeps the connection alive
                self._frame(channel, *decode_frame(memoryview(body)))
        del data[:at]

    def _protocol_header(self, header: bytes) -> None:
        self.out += header if header in (SASL_HEADER, AMQP_HEADER) else AMQP_HEADER
        if header == SASL_HEADER:
            # Python asks for ANONYMOUS, .NET for MSSBCBS; the client identifies itself on $cbs.
            self.emit(0, make(frames.SASLMechanism, sasl_server_mechanisms=["MSSBCBS", "ANONYMOUS"]), SASL_FRAME)
        self.closing = header not in (SASL_HEADER, AMQP_HEADER)
        self.service.to_flush.add(self)

    def _frame(self, channel: int, code: int, fields: Fields) -> None:
        match code:
            case Frame.SASL_INIT:
                self.emit(0, make(frames.SASLOutcome, code=0, additional_data=None), SASL_FRAME)
            case Frame.OPEN:
                self.opened = True
                self.remote_max_frame = max(512, fields[2])
                self.emit(0, make(frames.OpenFrame, container_id="emulator", max_frame_size=MAX_FRAME))
            case Frame.BEGIN:
                session = self.sessions[channel] = AmqpSession(self, channel, fields)
                session.emit(
                    make(
                        frames.BeginFrame,
                        remote_channel=channel,
                        next_outgoing_id=0,
                        incoming_window=WINDOW,
                        outgoing_window=WINDOW,
                        handle_max=255,
                    )
                )
            case Frame.CLOSE:
                for session in list(self.sessions.values()):
                    self._end(session)
                self.emit(0, make(frames.CloseFrame))
                self.closing = True
            case _ if channel in self.sessions:
                self._session_frame(self.sessions[channel], code, fields)
            case _:
                raise AmqpError("amqp:not-found", f"no session on channel {channel}")

    def _session_frame(self, session: AmqpSession, code: int, fields: Fields) -> None:
        match code:
            case Frame.ATTACH:
                self._attach(session, fields)
            case Frame.FLOW:
                self._flow(session, fields)
            case Frame.TRANSFER:
                self._transfer(session, fields)
            case Frame.DISPOSITION:
                self._disposition(session, fields)
            case Frame.DETACH:
                link = session.links.pop(fields[0], None)
                if link:
                    self.service.detached(link)
                    session.emit(make(frames.DetachFrame, handle=fields[0], closed=bool(fields[1])))
            case Frame.END:
                self._end(session)
                session.emit(make(frames.EndFrame))

    def _end(self, session: AmqpSession) -> None:
        self.sessions.pop(session.channel, None)
        for link in session.links.values():
            self.service.detached(link)
        session.links.clear()
        session.unsettled.clear()

    def _attach(self, session: AmqpSession, fields: Fields) -> None:
        link = AmqpLink(session, fields)
        source, target = make(Source, address=_address(link.source)), make(Target, address=_address(link.target))
        answer = {
            "name": link.name,
            "handle": link.handle,
            "role": not fields[2],
            "initial_delivery_count": 0 if link.server_sends else None,
        }
        try:
            max_size, properties = self.service.attach(link)
        except AmqpError as error:
            # A refusal is an answer without the server's own terminus, then a detach that says why.
            ends = {"target": target} if link.server_sends else {"source": source}
            session.emit(make(frames.AttachFrame, **answer, **ends))
            session.emit(make(frames.DetachFrame, handle=link.handle, closed=True, error=error.encoded()))
            return
        session.links[link.handle] = link
        session.emit(
            make(
                frames.AttachFrame,
                **answer,
                send_settle_mode=fields[3],
                rcv_settle_mode=fields[4],
                source=source,  # the SDK drops a link whose answer lacks one of the two
                target=target,
                max_message_size=max_size,
                properties=properties,
            )
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
        link.credit = granted if granted <= WINDOW else 0
        self.service.credited(link)
        if drain:  # the rest of the credit is returned, with a flow frame
            link.delivery_count = (link.delivery_count + link.credit) & 0xFFFFFFFF
            link.credit = 0
        if drain or echo:
            session.flow(link, drained=bool(drain))

    def _transfer(self, session: AmqpSession, fields: Fields) -> None:
        handle, delivery_id, _, message_format, settled, more = fields[:6]
        session.next_in = (session.next_in + 1) & 0xFFFFFFFF
        link = session.links.get(handle)
        if link is None:
            raise AmqpError("amqp:session:unattached-handle", f"handle {handle}")
        if link.partial is None:
            link.partial = [delivery_id, message_format or 0, False, bytearray()]
        link.partial[2] |= bool(settled)
        link.partial[3] += fields[-1]
        if more:
            return
        (delivery_id, message_format, settled, whole), link.partial = link.partial, None
        link.delivery_count = (link.delivery_count + 1) & 0xFFFFFFFF
        link.credit -= 1
        state: Any = Accepted()
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
        [(outcome, values)] = (state or {"accepted": []}).items()
        for delivery_id in range(first, (first if last is None else last) + 1):
            if delivery_id not in session.unsettled:
                continue
            context = session.unsettled.pop(delivery_id)
            try:
                answer = self.service.settled(context, outcome, values)
            except AmqpError as error:
                answer = error.rejected()
            if not settled:  # the client waits for the outcome it asked for
                session.answer_outcome(delivery_id, answer, as_receiver=False)
