"""A JSON array, or objects written over several lines, as rows: one value at a time, never the whole file."""

import re
from collections.abc import Iterable, Iterator

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.lines import Block, RefusedLine, Unreadable
from shared.validation.strict import loaded

_VALUE_STARTS = b'{["-0123456789tfn'
_BLANKS = b" \t\r\n"
_BETWEEN = re.compile(rb"[^ \t\r\n,]")
MARK = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_SCALAR_END = re.compile(rb'[ \t\r\n,"{}\[\]]')
_QUOTE, _OPEN, _CLOSE, _ARRAY, _ARRAY_END = ord('"'), b"{[", b"}]", ord("["), ord("]")


def holds_values(head: bytes) -> bool:
    """Whether a file that starts so is no JSON Lines: an array, or an object whose first line is only its brace."""
    text = head.lstrip(_BLANKS)
    first, _, rest = text.partition(b"\n")
    if first.strip() == b"{":
        return True
    if not text.startswith(b"[") or text[1:].lstrip(_BLANKS)[:1] not in [*map(bytes, zip(_VALUE_STARTS)), b"]", b""]:
        return False
    return not rest.strip() or loaded(first) is None


def read_values(chunks: Iterable[bytes], offset: int = 0) -> Iterator[Block]:
    """One block a value: its number from 1, its offset, and its bytes. `offset`: of the first chunk.

    Commas between values may be missing or too many: what a value is does not depend on them. Raises Unreadable
    (`json_array_cut`, `json_array_more`).
    """
    values = _Values(offset)
    for chunk in chunks:
        yield from values.feed(chunk)
    yield from values.end()


def in_string(held: bytes, at: int) -> tuple[int, bool]:
    """The place behind a string that is open at a place, or to which it is read; and whether it is still open."""
    found = _STRING.match(held, at)
    at = found.end() if found else at
    ends = held[at : at + 1] == b'"'
    return at + ends, not ends


class _Values:
    """Where a scan of bytes stands. `_at`: offset of the first byte held; `_start`: of the value in it, or -1."""

    def __init__(self, offset: int) -> None:
        self._held, self._at, self._pos = b"", offset, 0
        self._start, self._offset, self._dropped = -1, offset, 0
        self._depth = self._outer = self._number = 0
        self._in_string = self._any = self._ended = self._is_scalar = False

    def feed(self, chunk: bytes) -> Iterator[Block]:
        self._held += chunk
        while self._inside() if self._start >= 0 else self._between():
            is_whole = self._depth == self._outer and not self._in_string and not self._is_scalar
            if self._start >= 0 and is_whole:
                yield self._value(self._pos)
        self._forget()

    def end(self) -> Iterator[Block]:
        if self._outer:
            raise Unreadable("json_array_cut")
        if self._start >= 0:
            yield self._value(len(self._held))

    def _between(self) -> bool:
        """To the next value; False if it is not held yet."""
        found = _BETWEEN.search(self._held, self._pos)
        self._pos = found.start() if found else len(self._held)
        if found is None:
            return False
        mark = self._held[self._pos]
        if mark == _ARRAY_END and self._outer:
            self._outer = self._depth = 0
            self._ended = True
        elif self._ended:
            raise Unreadable("json_array_more")
        elif mark == _ARRAY and not self._any:
            self._outer = self._depth = 1
        else:
            self._begin(mark)
            return True
        self._any = True
        self._pos += 1
        return True

    def _begin(self, mark: int) -> None:
        self._any = True
        self._start, self._offset, self._dropped = self._pos, self._at + self._pos, 0
        self._number += 1
        self._in_string = mark == _QUOTE
        self._depth += mark in _OPEN
        self._is_scalar = not self._in_string and mark not in _OPEN
        self._pos += not self._is_scalar

    def _inside(self) -> bool:
        """Over the next mark of a value; False if it is not held yet."""
        held = self._held
        if self._in_string:
            self._pos, self._in_string = in_string(held, self._pos)
            return not self._in_string
        mark = (_SCALAR_END if self._is_scalar else MARK).search(held, self._pos)
        if mark is None:
            self._pos = len(held)
            return False
        if self._is_scalar:
            self._is_scalar = False
            self._pos = max(mark.start(), self._start + 1 if not self._dropped else 0)
            return True
        byte = held[mark.start()]
        self._in_string = byte == _QUOTE
        self._depth += (byte in _OPEN) - (byte in _CLOSE)
        self._pos = mark.end()
        return True

    def _value(self, end: int) -> Block:
        size = self._dropped + end - self._start
        value: bytes | RefusedLine = self._held[self._start : end]
        if size > MAX_ROW_BYTES:
            value = RefusedLine("row_too_long", size)
        self._start = -1
        return self._number, self._offset, [value]

    def _forget(self) -> None:
        """Drop what was read; of a value that is too long all but its size."""
        cut = self._pos if self._start < 0 else self._start
        if self._start >= 0 and self._dropped + len(self._held) - self._start > MAX_ROW_BYTES:
            cut = self._pos
            self._dropped += self._pos - self._start
        self._held = self._held[cut:]
        self._at += cut
        self._pos -= cut
        self._start = 0 if self._start >= 0 else -1
