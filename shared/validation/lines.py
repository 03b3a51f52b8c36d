"""Byte chunks to lines, whatever the chunks' size: gzip, byte order mark, line ends and limits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import cast

from shared.validation.codes import MAX_DECOMPRESSED_BYTES, MAX_RATIO, MAX_ROW_BYTES, RATIO_FROM_BYTES


class RefusedLine:
    """Stands for a line that is not passed on, and has its length. `code`: the reason."""

    __slots__ = ("_size", "code")

    def __init__(self, code: str, size: int) -> None:
        self.code, self._size = code, size

    def __len__(self) -> int:
        return self._size


# Number (from 1) and offset in the decompressed file (from 0) of the first of some lines that follow each other,
# and the lines without their line feeds. Lists, for a generator's turn a line would cost a tenth of its parsing.
Block = tuple[int, int, list[bytes | RefusedLine]]

_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
# UTF-16, and what people upload by mistake: zip (Excel too), bzip2, xz, Zstandard, Parquet, PDF.
_NO_TEXT = (b"\xff\xfe", b"\xfe\xff", b"PK\3\4", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd", b"PAR1", b"%PDF")
_PIECE_BYTES = 2**20
_STEP_BYTES = 2**16


class Unreadable(Exception):
    """The file cannot be read on; `code` is one of `CODES`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read_blocks(chunks: Iterable[bytes]) -> Iterator[Block]:
    """Lines in order. Holds one chunk and one line at a time, and never a line that is too long.

    Raises Unreadable (`not_utf8`, `invalid_gzip`, `decompression_bomb`).
    """
    return _split(_with_head(_plain(_with_head(chunks, 2)), 4))


def _with_head(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes; the first chunk has at least `size` of them if there are that many."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= size:
            break
    if head:
        yield head
    yield from source


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    if first.startswith(_GZIP):
        yield from _gunzip(first, chunks)
    else:
        yield first
        yield from chunks


def _gunzip(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """All members of a gzip file, in pieces of at most `_PIECE_BYTES`.

    Fed in steps of its own, so that damage shows at the same place whatever the chunks' size.
    """
    read = written = 0
    inflate = zlib.decompressobj(wbits=31)
    for chunk in _steps(_chain(first, rest)):
        read += len(chunk)
        while chunk:
            if inflate.eof:  # another member follows, or padding
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                inflate = zlib.decompressobj(wbits=31)
            try:
                piece = inflate.decompress(chunk, _PIECE_BYTES)
            except zlib.error as error:
                raise Unreadable("invalid_gzip") from error
            chunk = inflate.unconsumed_tail or inflate.unused_data
            written += len(piece)
            _refuse_bomb(read - len(chunk), written)
            yield piece
    if not inflate.eof:
        raise Unreadable("invalid_gzip")


def _steps(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % _STEP_BYTES
        for start in range(0, whole, _STEP_BYTES):
            yield held[start : start + _STEP_BYTES]
        held = held[whole:]
    if held:
        yield held


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refuse_bomb(read: int, written: int) -> None:
    grown = written > RATIO_FROM_BYTES and written > read * MAX_RATIO
    if grown or written > MAX_DECOMPRESSED_BYTES:
        raise Unreadable("decompression_bomb")


def _split(chunks: Iterator[bytes]) -> Iterator[Block]:
    first = next(chunks, b"")
    if first.startswith(_NO_TEXT) or b"\0" in first[:4]:
        raise Unreadable("not_utf8")
    offset = len(_UTF8_MARK) if first.startswith(_UTF8_MARK) else 0
    number = 1
    held: list[bytes] = []  # parts of the line that no chunk has ended yet
    size = 0
    for chunk in _chain(first[offset:], chunks):
        ended = chunk.split(b"\n")
        rest = ended.pop()
        lines = cast(list[bytes | RefusedLine], ended)
        if lines and size:
            size += len(lines[0])
            lines[0] = _joined([*held, ended[0]], size)
            held, size = [], 0
        if lines:
            if len(chunk) > MAX_ROW_BYTES:
                lines = [_joined([line], len(line)) for line in ended]
            yield number, offset, lines
            number += len(lines)
            offset += sum(map(len, lines)) + len(lines)
        size += len(rest)
        if size > MAX_ROW_BYTES:
            held = []
        elif rest:
            held.append(rest)
    if size:
        yield number, offset, [_joined(held, size)]


def _joined(parts: list[bytes], size: int) -> bytes | RefusedLine:
    if size > MAX_ROW_BYTES:
        return RefusedLine("row_too_long", size)
    return parts[0] if len(parts) == 1 else b"".join(parts)
