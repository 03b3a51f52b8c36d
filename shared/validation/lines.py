"""Byte chunks to lines, whatever the chunks' size: gzip, byte order mark, line ends and limits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from shared.validation.codes import MAX_DECOMPRESSED_BYTES, MAX_RATIO, MAX_ROW_BYTES, RATIO_FROM_BYTES

_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PIECE_BYTES = 2**20


class Unreadable(Exception):
    """The file cannot be read on; `code` is one of `CODES`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read_lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines without their line feed; None for one longer than `MAX_ROW_BYTES`, which is never held whole.

    Holds one chunk and one line at a time. Raises Unreadable (`not_utf8`, `bad_gzip`, `decompression_bomb`).
    """
    return _split(_text(_plain(_with_head(chunks, 2))))


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
    """All members of a gzip file, in pieces of at most `_PIECE_BYTES`."""
    read = written = 0
    inflate = zlib.decompressobj(wbits=31)
    for chunk in _chain(first, rest):
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
                raise Unreadable("bad_gzip") from error
            chunk = inflate.unconsumed_tail or inflate.unused_data
            written += len(piece)
            _refuse_bomb(read - len(chunk), written)
            yield piece
    if not inflate.eof:
        raise Unreadable("bad_gzip")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refuse_bomb(read: int, written: int) -> None:
    grown = written > RATIO_FROM_BYTES and written > read * MAX_RATIO
    if grown or written > MAX_DECOMPRESSED_BYTES:
        raise Unreadable("decompression_bomb")


def _text(chunks: Iterator[bytes]) -> Iterator[bytes]:
    chunks = _with_head(chunks, 4)
    first = next(chunks, b"")
    if first.startswith(_UTF16_MARKS) or b"\0" in first[:4]:
        raise Unreadable("not_utf8")
    yield first.removeprefix(_UTF8_MARK)
    yield from chunks


def _split(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    held: list[bytes] = []  # parts of the line that no chunk has ended yet
    size = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield _joined(held, size, part)
            held, size = [], 0
        size += len(rest)
        if rest and size <= MAX_ROW_BYTES:
            held.append(rest)
    if size:
        yield _joined(held, size, b"")


def _joined(held: list[bytes], size: int, part: bytes) -> bytes | None:
    if size + len(part) > MAX_ROW_BYTES:
        return None
    return b"".join((*held, part)) if held else part
