"""The part of the AMQP 1.0 type system (OASIS, part 1) that a Service Bus client uses."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any

Buffer = bytes | bytearray | memoryview
Decoder = Callable[[Any, int], tuple[Any, int]]


class Symbol(str):
    __slots__ = ()


class UByte(int):
    pass


class UInt(int):
    pass


class ULong(int):
    pass


class Int(int):
    pass


class Timestamp(int):
    """Milliseconds since 1970."""


class Raw(bytes):
    """A value that is encoded already."""


class Described:
    __slots__ = ("descriptor", "value")

    def __init__(self, descriptor: Any, value: Any) -> None:
        self.descriptor, self.value = descriptor, value

    def __repr__(self) -> str:
        return f"Described({self.descriptor!r}, {self.value!r})"


class Array:
    """A homogeneous array of "uuid", "long", "timestamp" or "symbol"."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str, items: list[Any]) -> None:
        self.kind, self.items = kind, items


_FORMATS = {
    "u1": "B",
    "i1": "b",
    "u2": "H",
    "i2": "h",
    "u4": "I",
    "i4": "i",
    "u8": "Q",
    "i8": "q",
    "f4": "f",
    "f8": "d",
}
_PACK = {name: struct.Struct(">" + code) for name, code in _FORMATS.items()}
_U4 = _PACK["u4"]
_ARRAY: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "uuid": (0x98, lambda value: value.bytes),
    "long": (0x81, _PACK["i8"].pack),
    "timestamp": (0x83, _PACK["i8"].pack),
    "symbol": (0xB3, lambda value: _U4.pack(len(value)) + value.encode("ascii")),
}


def _put_variable(out: bytearray, value: Buffer, small: int, large: int) -> None:
    if len(value) < 256:
        out += bytes((small, len(value)))
    else:
        out.append(large)
        out += _U4.pack(len(value))
    out += value


def _put_compound(out: bytearray, body: Buffer, count: int, small: int, large: int) -> None:
    if len(body) < 255 and count < 256:
        out += bytes((small, len(body) + 1, count))
    else:
        out.append(large)
        out += _U4.pack(len(body) + 4) + _U4.pack(count)
    out += body


def _put_unsigned(out: bytearray, value: int, zero: int, small: int, large: int, size: str) -> None:
    if value == 0:
        out.append(zero)
    elif value < 256:
        out += bytes((small, value))
    else:
        out.append(large)
        out += _PACK[size].pack(value)


def put(out: bytearray, value: Any) -> None:
    """Append the encoding of a value; TypeError for a type AMQP has no form for."""
    match value:
        case None:
            out.append(0x40)
        case bool():
            out.append(0x41 if value else 0x42)
        case Symbol():
            _put_variable(out, value.encode("ascii"), 0xA3, 0xB3)
        case str():
            _put_variable(out, value.encode(), 0xA1, 0xB1)
        case Raw():
            out += value
        case bytes() | bytearray() | memoryview():
            _put_variable(out, value, 0xA0, 0xB0)
        case UByte():
            out += bytes((0x50, value))
        case UInt():
            _put_unsigned(out, value, 0x43, 0x52, 0x70, "u4")
        case ULong():
            _put_unsigned(out, value, 0x44, 0x53, 0x80, "u8")
        case Int():
            out += b"\x71" + _PACK["i4"].pack(value)
        case Timestamp():
            out += b"\x83" + _PACK["i8"].pack(value)
        case int():
            out += b"\x81" + _PACK["i8"].pack(value)
        case float():
            out += b"\x82" + _PACK["f8"].pack(value)
        case uuid.UUID():
            out += b"\x98" + value.bytes
        case Described():
            out.append(0)
            put(out, value.descriptor)
            put(out, value.value)
        case _:
            _put_collection(out, value)


def _put_collection(out: bytearray, value: Any) -> None:
    body = bytearray()
    match value:
        case [] | ():
            out.append(0x45)
        case list() | tuple():
            for item in value:
                put(body, item)
            _put_compound(out, body, len(value), 0xC0, 0xD0)
        case dict():
            for key, item in value.items():
                put(body, key)
                put(body, item)
            _put_compound(out, body, 2 * len(value), 0xC1, 0xD1)
        case Array():
            code, pack = _ARRAY[value.kind]
            body.append(code)
            for item in value.items:
                body += pack(item)
            _put_compound(out, body, len(value.items), 0xE0, 0xF0)
        case _:
            raise TypeError(f"AMQP has no form for {type(value).__name__}")


def _fixed(name: str, cls: Callable[[Any], Any] | None = None) -> Decoder:
    form = _PACK[name]

    def read(data: Buffer, at: int) -> tuple[Any, int]:
        value = form.unpack_from(data, at)[0]
        return (cls(value) if cls else value), at + form.size

    return read


def _constant(value: Any) -> Decoder:
    return lambda data, at: (value, at)


def _short(convert: Callable[[Any], Any]) -> Decoder:
    def read(data: Buffer, at: int) -> tuple[Any, int]:
        end = at + 1 + data[at]
        return convert(data[at + 1 : end]), end

    return read


def _long(convert: Callable[[Any], Any]) -> Decoder:
    def read(data: Buffer, at: int) -> tuple[Any, int]:
        end = at + 4 + _U4.unpack_from(data, at)[0]
        return convert(data[at + 4 : end]), end

    return read


def _items(data: Buffer, at: int, count: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        value, at = take(data, at)
        found.append(value)
    return found, at


def _pairs(data: Buffer, at: int, count: int) -> tuple[dict[Any, Any], int]:
    flat, at = _items(data, at, count)
    return dict(zip(flat[::2], flat[1::2], strict=True)), at


def _elements(data: Buffer, at: int, count: int) -> tuple[list[Any], int]:
    code, at = data[at], at + 1
    found = []
    for _ in range(count):
        value, at = _DECODERS[code](data, at)
        found.append(value)
    return found, at


def _small_compound(read: Callable[[Any, int, int], tuple[Any, int]]) -> Decoder:
    return lambda data, at: read(data, at + 2, data[at + 1])


def _large_compound(read: Callable[[Any, int, int], tuple[Any, int]]) -> Decoder:
    return lambda data, at: read(data, at + 8, _U4.unpack_from(data, at + 4)[0])


def _described(data: Buffer, at: int) -> tuple[Described, int]:
    descriptor, at = take(data, at)
    value, at = take(data, at)
    return Described(descriptor, value), at


def _text(data: Buffer) -> str:
    return str(data, "utf-8")


def _symbol(data: Buffer) -> Symbol:
    return Symbol(str(data, "ascii"))


_DECODERS: dict[int, Decoder] = {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(0),
    0x44: _constant(0),
    0x45: lambda data, at: ([], at),
    0x50: _fixed("u1"),
    0x51: _fixed("i1"),
    0x52: _fixed("u1"),
    0x53: _fixed("u1"),
    0x54: _fixed("i1"),
    0x55: _fixed("i1"),
    0x56: lambda data, at: (data[at] == 1, at + 1),
    0x60: _fixed("u2"),
    0x61: _fixed("i2"),
    0x70: _fixed("u4"),
    0x71: _fixed("i4"),
    0x72: _fixed("f4"),
    0x80: _fixed("u8"),
    0x81: _fixed("i8"),
    0x82: _fixed("f8"),
    0x83: _fixed("i8", Timestamp),
    0x98: lambda data, at: (uuid.UUID(bytes=bytes(data[at : at + 16])), at + 16),
    0xA0: _short(bytes),
    0xA1: _short(_text),
    0xA3: _short(_symbol),
    0xB0: _long(bytes),
    0xB1: _long(_text),
    0xB3: _long(_symbol),
    0xC0: _small_compound(_items),
    0xC1: _small_compound(_pairs),
    0xD0: _large_compound(_items),
    0xD1: _large_compound(_pairs),
    0xE0: _small_compound(_elements),
    0xF0: _large_compound(_elements),
}


def take(data: Buffer, at: int = 0) -> tuple[Any, int]:
    """The value that starts at `at`, and the position after it."""
    return _DECODERS[data[at]](data, at + 1)


def skip(data: Buffer, at: int) -> int:
    """The position after the value that starts at `at`, without decoding it."""
    code = data[at]
    at += 1
    if code == 0:
        return skip(data, skip(data, at))
    width = code >> 4  # the high nibble gives the size class of every constructor
    if width <= 9:
        return at + (0, 0, 0, 0, 0, 1, 2, 4, 8, 16)[width]
    if width in (0xA, 0xC, 0xE):
        return at + 1 + data[at]
    return int(at + 4 + _U4.unpack_from(data, at)[0])


def raw_map(data: Buffer, at: int) -> tuple[int, bytes]:
    """Number of encoded items and their bytes, of the map at `at`: entries can be added without re-encoding."""
    if data[at] == 0xC1:
        return data[at + 2], bytes(data[at + 3 : at + 2 + data[at + 1]])
    if data[at] == 0xD1:
        size, count = struct.unpack_from(">II", data, at + 1)
        return count, bytes(data[at + 9 : at + 5 + size])
    raise ValueError("not a map")


def map_of(count: int, body: Buffer) -> Raw:
    """The inverse of `raw_map`."""
    out = bytearray()
    _put_compound(out, body, count, 0xC1, 0xD1)
    return Raw(out)


def without(body: bytes, keys: set[str]) -> tuple[int, bytes]:
    """The map's encoded entries but those with the given keys; the others stay as they came, byte for byte."""
    kept, count, at = bytearray(), 0, 0
    while at < len(body):
        value_at = skip(body, at)
        end = skip(body, value_at)
        if take(body, at)[0] not in keys:
            kept += body[at:end]
            count += 2
        at = end
    return count, bytes(kept)


def raw_fields(data: Buffer, at: int, wanted: int) -> list[Raw | None]:
    """The first fields of the list at `at` as they are encoded, None where absent."""
    if data[at] == 0x45:
        return [None] * wanted
    if data[at] == 0xC0:
        count, at = data[at + 2], at + 3
    else:
        count, at = _U4.unpack_from(data, at + 5)[0], at + 9
    found: list[Raw | None] = []
    for _ in range(min(count, wanted)):
        end = skip(data, at)
        found.append(None if data[at] == 0x40 else Raw(data[at:end]))
        at = end
    return found + [None] * (wanted - len(found))
