"""A file that is one object around its rows, as exports of APIs are: `{"count": 2, "tickets": [{...}, {...}]}`."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any, NamedTuple

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.conversions import SYSTEM, TOOLS
from shared.validation.json_values import LIST, LIST_END, OPEN, QUOTE, TOKEN, Text, read_values
from shared.validation.lines import Line, Unreadable
from shared.validation.marks import plain_name
from shared.validation.names import EMPTY, shown
from shared.validation.strict import loaded
from shared.validation.turns import Source

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
    """The rows in the largest list of objects, or in `train`; None of a text that is something else.

    `offset`: of the text. `is_row` says whether a format is known. Raises Unreadable `json_array_cut`, and
    `table_by_columns` of an object that is no list of rows and no row.
    """
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
    """Of the lists in the only object of a text; None if something else follows it, or if it does not end.

    Raises Unreadable `json_array_cut` if a list does not end.
    """
    spans: list[_Span] = []
    depth = objects = 0  # containers that are open, and those that hold all others
    start = -1  # of the list that is open
    for token in TOKEN.finditer(text):
        mark, outside = text[token.start()], depth == objects
        if mark == QUOTE:
            continue
        if mark in OPEN:
            if mark != LIST and outside and depth < _DEPTH:
                objects += 1
            elif mark == LIST and outside and depth:
                start = token.start()
            depth += 1
            continue
        depth -= 1
        if depth == objects and start >= 0 and mark == LIST_END:
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
