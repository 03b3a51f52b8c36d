"""A JSON array, or objects over several lines, as rows: one value at a time of text in a file. Or one object around the
rows, as exports of APIs are: `{"count": 2, "tickets": [{...}, {...}]}`."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, pairwise
from mmap import ACCESS_READ, mmap
from typing import Any, NamedTuple

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.containers import spooled
from shared.validation.conversions import SYSTEM, TOOLS
from shared.validation.lines import Line, RefusedLine, Unreadable
from shared.validation.marks import plain_name
from shared.validation.names import EMPTY, shown
from shared.validation.strict import loaded
from shared.validation.turns import Source

_VALUE_STARTS = b'{["-0123456789tfn'
_BLANKS = b" \t\r\n"
_BETWEEN = re.compile(rb"[^ \t\r\n,]")
# A bracket, or a whole string with the mark that ends it; an empty group of one that goes on to the end of the text.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\]]', re.DOTALL)
_SCALAR_END = re.compile(rb'[ \t\r\n,"{}\[\]]')
_QUOTE, _OPEN, _OPEN_LIST, _LIST_END = ord('"'), b"{[", ord("["), ord("]")
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
    """Each value between two places as a line; commas may be missing. Raises Unreadable `json_array_cut`, `_more`."""
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
    if text[at] != _QUOTE and text[at] not in _OPEN:
        found = _SCALAR_END.search(text, at + 1, end)
        return found.start() if found else None
    depth = 0
    for token in _TOKEN.finditer(text, at, end):
        if token[1] == b"":
            return None
        if (mark := text[token.start()]) != _QUOTE:
            depth += 1 if mark in _OPEN else -1
        if depth <= 0:
            return token.end()
    return None


# One object around the rows.
_DEPTH = 3  # objects around the list: {"d": {"results": [...]}}
_UNFINISHED = (b"{", b"[", b",", b":")
_LIST = "a list of rows"  # stands in the object for each of them
_TURNS = (
    *(frozenset({"role", content}) for content in ("content", "text", "message", "parts")),
    frozenset({"from", "value"}),
)
# What pandas writes with orient columns, which is its default, or index.
_NUMBERED = re.compile(rb'\s*\{\s*(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"\s*:\s*\{\s*"\d+"\s*:|"\d+"\s*:\s*\{)')
_LIST_OF_OBJECTS, _MORE = re.compile(rb"\[\s*\{"), re.compile(rb"\S")
_TRAINED = ("train", "training")


class Wrapped(NamedTuple):
    """`path`: of the list of rows. `others`: names beside it. `needed`: those that say what all rows should read."""

    path: str
    others: tuple[str, ...]
    needed: tuple[str, ...]
    lines: Iterator[Line]


class _Span(NamedTuple):
    """Of a list of objects: its places in the text, and its path."""

    start: int
    end: int
    path: str = ""


def may_be_wrapped(start: bytes) -> bool:
    """Whether a text that begins so may be one object around its rows: its first line is not one of several rows."""
    first, _, rest = start.lstrip().partition(b"\n")
    if not first.startswith(b"{"):
        return False
    return not rest.strip() or first.rstrip().endswith(_UNFINISHED)


def unwrap(text: Text, offset: int, is_row: Callable[[Source], bool]) -> Wrapped | None:
    """The rows in the largest list of objects, or in `train`; None of other text, which is at `offset`. `is_row`:
    whether a format is known. Raises Unreadable `json_array_cut`; `table_by_columns` of an object that is no rows and
    no row."""
    found = _rows_in(text, is_row)
    if found is None:
        return None
    rows, others = found
    needed = tuple(name for name in others if plain_name(name) in (*SYSTEM, *TOOLS))
    lines = read_values(text, rows.start, rows.end, offset)
    return Wrapped(rows.path, tuple(map(shown, others)), needed, lines)


def is_turn(value: Any) -> bool:
    """Whether it is of a dialogue, which is one row."""
    return type(value) is dict and any(names <= value.keys() for names in _TURNS)


def _rows_in(text: Text, is_row: Callable[[Source], bool]) -> tuple[_Span, list[str]] | None:
    """The list of rows, and what stands beside it."""
    every = _spans(text)
    if every is None:
        return None
    spans = [span for span in every if _LIST_OF_OBJECTS.match(text, span.start)]
    if _is_by_columns(text, [] if spans else every):
        raise Unreadable("table_by_columns")
    around = _around(text, spans) if spans else None
    if around is None:
        return None
    found = [spans[number]._replace(path=path) for path, number in _paths(around, ())]
    rows = max(found, key=lambda span: (span.path.casefold() in _TRAINED, span.end - span.start))
    first = _first(text, rows)
    if is_turn(first) or (is_row(around) and not (type(first) is dict and is_row(first))):
        return None
    return rows, _others(around, rows.path)


def _is_by_columns(text: Text, lists: list[_Span]) -> bool:
    """Whether the object has a key for each row's number, at once or in each column, or is of columns, all `lists`."""
    if _NUMBERED.match(text):
        return True
    has_cells = all(span.end - span.start > len("[]") for span in lists)
    around = _around(text, lists) if len(lists) > 1 and has_cells else None
    return around is not None and all(type(value) is list and value[:1] == [_LIST] for value in around.values())


def _spans(text: Text) -> list[_Span] | None:
    """Of the lists in the only object of a text, else None. Raises Unreadable `json_array_cut`."""
    spans: list[_Span] = []
    depth = objects = 0  # containers that are open, and those that hold all others
    start = -1  # of the list that is open
    for token in _TOKEN.finditer(text):
        mark, outside = text[token.start()], depth == objects
        if mark == _QUOTE:
            continue
        if mark in _OPEN:
            if mark != _OPEN_LIST and outside and depth < _DEPTH:
                objects += 1
            elif mark == _OPEN_LIST and outside and depth:
                start = token.start()
            depth += 1
            continue
        depth -= 1
        if depth == objects and start >= 0 and mark == _LIST_END:
            spans.append(_Span(start, token.end()))
            start = -1
        objects = min(objects, depth)
        if depth <= 0:
            return None if _MORE.search(text, token.end()) else spans
    if start >= 0:
        raise Unreadable("json_array_cut")
    return None


def _around(text: Text, spans: list[_Span]) -> dict[str, Any] | None:
    """The object with a mark in the place of each list; None if it is not an object, or too large."""
    edges = [0, *chain.from_iterable((span.start, span.end) for span in spans), len(text)]
    parts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        if number % 2:
            parts.append(orjson.dumps([_LIST, number // 2]))
        elif stop - start > MAX_ROW_BYTES:
            return None
        else:
            parts.append(text[start:stop])
    found = loaded(b"".join(parts))
    return found if type(found) is dict else None


def _paths(value: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The path and the number of each list that stands in an object."""
    for name, inner in value.items():
        if type(inner) is dict:
            yield from _paths(inner, (*path, name))
        elif type(inner) is list and inner[:1] == [_LIST]:
            yield ".".join((*path, name)), inner[1]


def _first(text: Text, span: _Span) -> Any:
    with suppress(StopIteration, Unreadable):
        _, _, line = next(read_values(text, span.start, span.end))
        return loaded(line) if isinstance(line, bytes) else None
    return None


def _others(around: dict[str, Any], path: str) -> list[str]:
    """Names beside the list, at each object on the way to it, of what is not empty."""
    names, at = [], ""
    for part in path.split("."):
        names += [f"{at}{name}" for name, value in around.items() if name != part and value not in EMPTY]
        around, at = around.get(part, {}), f"{at}{part}."
        if type(around) is not dict:
            break
    return names
