"""A JSON array, or objects written over several lines, as rows: one value at a time of text that lies in a file."""

import re
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.containers import spooled
from shared.validation.lines import Line, RefusedLine, Unreadable
from shared.validation.strict import loaded

_VALUE_STARTS = b'{["-0123456789tfn'
_BLANKS = b" \t\r\n"
_BETWEEN = re.compile(rb"[^ \t\r\n,]")
# A bracket, or a whole string with the mark that ends it; an empty group of one that goes on to the end of the text.
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\]]', re.DOTALL)
_SCALAR_END = re.compile(rb'[ \t\r\n,"{}\[\]]')
QUOTE, OPEN, LIST, LIST_END = ord('"'), b"{[", ord("["), ord("]")
Text = bytes | mmap


def holds_values(head: bytes) -> bool:
    """Whether a file that starts so is no JSON Lines: an array, or an object whose first line is only its brace."""
    text = head.lstrip(_BLANKS)
    first, _, rest = text.partition(b"\n")
    if first.strip() == b"{":
        return True
    if not text.startswith(b"[") or text[1:].lstrip(_BLANKS)[:1] not in [*map(bytes, zip(_VALUE_STARTS)), b"]", b""]:
        return False
    return not rest.strip() or loaded(first) is None


def mapped(chunks: Iterable[bytes]) -> Text:
    """The text as a whole, which is in a temporary file and not in memory."""
    with spooled(chunks) as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ) if file.seek(0, 2) else b""


def read_values(text: Text, start: int = 0, end: int | None = None, offset: int = 0) -> Iterator[Line]:
    """Each value between two places as a line: its number from 1, its offset, and its bytes. `offset`: of the text.

    Commas between values may be missing or too many: what a value is does not depend on them. Raises Unreadable
    (`json_array_cut`, `json_array_more`).
    """
    end, number = len(text) if end is None else end, 0
    found = _BETWEEN.search(text, start, end)
    is_array = found is not None and found[0] == b"["
    if found and is_array:
        found = _BETWEEN.search(text, found.end(), end)
    while found and not (is_array and found[0] == b"]"):
        at, number = found.start(), number + 1
        stop = _end_of_value(text, at, end)
        if stop is None and is_array:
            break
        stop = stop or end
        is_long = stop - at > MAX_ROW_BYTES
        yield number, offset + at, RefusedLine("row_too_long", stop - at) if is_long else text[at:stop]
        found = _BETWEEN.search(text, stop, end)
    if is_array and (found is None or found[0] != b"]"):
        raise Unreadable("json_array_cut")
    if found and _BETWEEN.search(text, found.end(), end):
        raise Unreadable("json_array_more")


def _end_of_value(text: Text, at: int, end: int) -> int | None:
    """None if it does not end in the text."""
    if text[at] != QUOTE and text[at] not in OPEN:
        found = _SCALAR_END.search(text, at + 1, end)
        return found.start() if found else None
    depth = 0
    for token in TOKEN.finditer(text, at, end):
        if token[1] == b"":
            return None
        if (mark := text[token.start()]) != QUOTE:
            depth += 1 if mark in OPEN else -1
        if depth <= 0:
            return token.end()
    return None
