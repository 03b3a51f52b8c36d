"""A file that is one object around its rows, as exports of APIs are: `{"count": 2, "tickets": [{...}, {...}]}`."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, pairwise
from typing import IO, Any, NamedTuple

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.conversions import SYSTEM, TOOLS
from shared.validation.json_values import MARK, in_string, read_values
from shared.validation.lines import Block, Unreadable
from shared.validation.marks import plain_name
from shared.validation.names import EMPTY, shown
from shared.validation.strict import loaded
from shared.validation.turns import Source

_SPOOL_BYTES = 8 * 2**20
_PIECE_BYTES = 2**20
_DEPTH = 3  # objects around the list: {"d": {"results": [...]}}
_UNFINISHED = (b"{", b"[", b",", b":")
_LIST = "a list of rows"  # stands in the object for each of them
_TURNS = (
    *(frozenset({"role", content}) for content in ("content", "text", "message", "parts")),
    frozenset({"from", "value"}),
)
# What pandas writes with orient columns, which is its default, or index.
_NUMBERED = re.compile(rb'\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"\d+"\s*:|"\d+"\s*:\s*\{)')
_TRAINED = ("train", "training")


class Wrapped(NamedTuple):
    """`path`: of the list of rows. `others`: names beside it. `needed`: those that say what all rows should read."""

    path: str
    others: tuple[str, ...]
    needed: tuple[str, ...]
    blocks: Iterator[Block]


class _Span(NamedTuple):
    """Of a list of objects: its offsets in the file, and its path."""

    start: int
    end: int
    path: str = ""


def with_first_line(source: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes; of an object the first chunk has the first line and what follows, if there is room for a row."""
    held = [next(source, b"")]
    size = len(held[0])
    if held[0].lstrip().startswith(b"{"):
        ended = b"\n" in held[0]
        for chunk in source if not ended or not held[0].partition(b"\n")[2].strip() else ():
            held.append(chunk)
            size += len(chunk)
            if size > MAX_ROW_BYTES or (ended and chunk.strip()):
                break
            ended |= b"\n" in chunk
    yield b"".join(held)
    yield from source


def may_be_wrapped(start: bytes) -> bool:
    """Whether a text that begins so may be one object around its rows: its first line is not one of several rows."""
    first, _, rest = start.lstrip().partition(b"\n")
    if not first.startswith(b"{"):
        return False
    return not rest.strip() or first.rstrip().endswith(_UNFINISHED)


def unwrap(
    chunks: Iterator[bytes], offset: int, is_row: Callable[[Source], bool]
) -> tuple[Wrapped | None, Iterator[bytes]]:
    """The rows in the largest list of objects, or in `train`; None of a file that is something else, and its bytes.

    `offset`: of the first chunk. `is_row` says whether a format is known. Raises Unreadable `json_array_cut`, and
    `table_by_columns` of an object that is no list of rows and no row.
    """
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115  # what reads it closes it
    try:
        for chunk in chunks:
            file.write(chunk)
        found = _rows_in(file, is_row)
    except BaseException:
        file.close()
        raise
    if found is None:
        return None, _read(file, 0)
    rows, others = found
    needed = tuple(name for name in others if plain_name(name) in (*SYSTEM, *TOOLS))
    blocks = read_values(_read(file, rows.start, rows.end), offset + rows.start)
    return Wrapped(rows.path, tuple(map(shown, others)), needed, blocks), iter(())


def is_turn(value: Any) -> bool:
    """Whether it is of a dialogue, which is one row."""
    return type(value) is dict and any(names <= value.keys() for names in _TURNS)


def _rows_in(file: IO[bytes], is_row: Callable[[Source], bool]) -> tuple[_Span, list[str]] | None:
    """The list of rows, and what stands beside it."""
    every = _spans(file)
    if every is None:
        return None
    spans = [span for span in every if _begins_with_object(file, span)]
    if _is_by_columns(file, [] if spans else every):
        raise Unreadable("table_by_columns")
    around = _around(file, spans) if spans else None
    if around is None:
        return None
    found = [spans[number]._replace(path=path) for path, number in _paths(around, ())]
    rows = max(found, key=lambda span: (span.path.casefold() in _TRAINED, span.end - span.start))
    first = _first(file, rows)
    if is_turn(first) or (is_row(around) and not (type(first) is dict and is_row(first))):
        return None
    return rows, _others(around, rows.path)


def _is_by_columns(file: IO[bytes], lists: list[_Span]) -> bool:
    """Whether the object has a key for each row's number, at once or in each column, or is of columns, all `lists`."""
    file.seek(0)
    if _NUMBERED.match(file.read(_PIECE_BYTES)):
        return True
    has_cells = all(span.end - span.start > len("[]") for span in lists)
    around = _around(file, lists) if len(lists) > 1 and has_cells else None
    return around is not None and all(type(value) is list and value[:1] == [_LIST] for value in around.values())


def _read(file: IO[bytes], start: int, end: int | None = None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while piece := file.read(_PIECE_BYTES if end is None else min(_PIECE_BYTES, end - file.tell())):
            yield piece


def _spans(file: IO[bytes]) -> list[_Span] | None:
    """Of the lists in the only object of a file; None if something else follows it, or if it does not end.

    Raises Unreadable `json_array_cut` if a list does not end.
    """
    scan = _Scan()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        scan.feed(piece)
        if scan.more:
            return None
    if scan.list_from >= 0:
        raise Unreadable("json_array_cut")
    return scan.spans if scan.ended else None


class _Scan:
    """Where a scan of bytes stands. `more`: something follows the object."""

    def __init__(self) -> None:
        self.spans: list[_Span] = []
        self.list_from = -1
        self.ended = self.more = False
        self._at = self._depth = self._objects = 0  # containers that are open, and those that hold all others
        self._held = b""
        self._in_string = False

    def feed(self, chunk: bytes) -> None:
        held = self._held + chunk
        pos = 0
        while not self.ended:
            if self._in_string:
                pos, self._in_string = in_string(held, pos)
                if self._in_string:
                    break
            mark = MARK.search(held, pos)
            if mark is None:
                pos = len(held)
                break
            pos = mark.end()
            self._mark(mark[0], self._at + mark.start())
        self.more |= self.ended and bool(held[pos:].strip())
        self._held = b"" if self.ended else held[pos:]
        self._at += len(held) - len(self._held)

    def _mark(self, mark: bytes, at: int) -> None:
        if mark == b'"':
            self._in_string = True
            return
        if mark in b"{[":
            outside = self._depth == self._objects
            if mark == b"{" and outside and self._depth < _DEPTH:
                self._objects += 1
            elif mark == b"[" and outside and self._depth:
                self.list_from = at
            self._depth += 1
            return
        self._depth -= 1
        if self._depth == self._objects and self.list_from >= 0 and mark == b"]":
            self.spans.append(_Span(self.list_from, at + 1))
            self.list_from = -1
        self._objects = min(self._objects, self._depth)
        self.ended = self._depth <= 0


def _begins_with_object(file: IO[bytes], span: _Span) -> bool:
    file.seek(span.start + 1)
    return file.read(_PIECE_BYTES).lstrip().startswith(b"{")


def _around(file: IO[bytes], spans: list[_Span]) -> dict[str, Any] | None:
    """The object with a mark in the place of each list; None if it is not an object, or too large."""
    end = file.seek(0, 2)
    edges = [0, *chain.from_iterable((span.start, span.end) for span in spans), end]
    parts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        if number % 2:
            parts.append(orjson.dumps([_LIST, number // 2]))
        elif stop - start > MAX_ROW_BYTES:
            return None
        else:
            file.seek(start)
            parts.append(file.read(stop - start))
    found = loaded(b"".join(parts))
    return found if type(found) is dict else None


def _paths(value: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The path and the number of each list that stands in an object."""
    for name, inner in value.items():
        if type(inner) is dict:
            yield from _paths(inner, (*path, name))
        elif type(inner) is list and inner[:1] == [_LIST]:
            yield ".".join((*path, name)), inner[1]


def _first(file: IO[bytes], span: _Span) -> Any:
    file.seek(span.start)
    blocks = read_values([file.read(min(span.end - span.start, MAX_ROW_BYTES + _PIECE_BYTES))])
    with suppress(StopIteration, Unreadable):
        _, _, (line,) = next(blocks)
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
