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
UTF8_MARK = b"\xef\xbb\xbf"
_UTF_16 = "text in UTF-16"
# What people upload by mistake.
_NO_TEXT = {
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x1f\x8b": "compressed with gzip twice",
    b"PK\3\4": "a zip archive or an Excel workbook",
    b"BZh": "compressed with bzip2",
    b"\xfd7zX": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"PAR1": "a Parquet file",
    b"ARRO": "an Arrow file",
    b"Obj\1": "an Avro file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an Excel or Word file of the old format",
}
HEAD_BYTES = 4096
_PIECE_BYTES = 2**20
_STEP_BYTES = 2**16


class Unreadable(Exception):
    """The file cannot be read on; `code` is one of `CODES`, and `detail` goes into its message."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def read_text(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of the text in a file. The first piece has at least `HEAD_BYTES`, if there are that many.

    Raises Unreadable (`not_utf8`, `invalid_gzip`, `decompression_bomb`).
    """
    text = _with_head(_plain(_with_head(chunks, 2)), HEAD_BYTES)
    first = next(text, b"")
    _refuse_binary(first)
    yield first
    yield from text


def _refuse_binary(first: bytes) -> None:
    for start, what in _NO_TEXT.items():
        if first.startswith(start):
            raise Unreadable("not_utf8", what)
    if b"\0" in first[:4]:
        raise Unreadable("not_utf8", _UTF_16 if any(first[:4]) else "binary data")


def read_blocks(chunks: Iterable[bytes]) -> Iterator[Block]:
    """Lines in order. Holds one chunk and one line at a time, and never a line that is too long.

    Raises Unreadable as `read_text` does.
    """
    return split_lines(read_text(chunks))


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


def split_lines(chunks: Iterator[bytes]) -> Iterator[Block]:
    first = next(chunks, b"")
    offset = len(UTF8_MARK) if first.startswith(UTF8_MARK) else 0
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
