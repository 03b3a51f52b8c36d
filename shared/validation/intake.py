"""A file as it comes: which container, which format, and its rows as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from shared.validation.formats import Format, chosen, detect, shape_of
from shared.validation.lines import Block, RefusedLine, Unreadable, read_blocks
from shared.validation.tables import DELIMITERS, columns_of, read_table

_LOOK_ROWS = 20
_LOOK_BYTES = 2**20
_AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Intake:
    """`form` is None if no row has a known shape; iterating `blocks` may raise Unreadable."""

    form: Format | None
    container: Literal["jsonl", "csv"]
    blocks: Iterator[Block]


def open_rows(chunks: Iterable[bytes], wanted: str, *, named_csv: bool = False) -> Intake:
    """Look at the first rows, and give them back with all others.

    `wanted` is a format's name or `auto`. A file is CSV if it is named so, or if its first line is no JSON and
    names columns of a known format.
    """
    head, rest = _peeked(read_blocks(chunks))
    lines = list(_first_lines(head))
    blocks = _rejoined(head, rest)
    delimiter = _delimiter(lines[0], named_csv=named_csv) if lines else None
    if delimiter:
        header = dict.fromkeys(columns_of(lines[0], delimiter))
        return Intake(_format(wanted, [header]), "csv", read_table(blocks, delimiter))
    sources = [source for line in lines if type(source := _loaded(line)) is dict]
    return Intake(_format(wanted, sources), "jsonl", blocks)


def _format(wanted: str, sources: list[dict[str, Any]]) -> Format | None:
    return detect(sources) if wanted == _AUTO else chosen(wanted, sources)


def _peeked(blocks: Iterator[Block]) -> tuple[list[Block], Iterator[Block]]:
    """Blocks with at least the lines that are looked at, and the rest, whose first turn raises what they raised."""
    head: list[Block] = []
    rows = size = 0
    try:
        while rows < _LOOK_ROWS and size < _LOOK_BYTES:
            block = next(blocks)
            head.append(block)
            rows += sum(1 for line in block[2] if isinstance(line, bytes) and line.strip())
            size += sum(map(len, block[2]))
    except StopIteration:
        pass
    except Unreadable as error:
        return head, _raising(error)
    return head, blocks


def _raising(error: Unreadable) -> Iterator[Block]:
    raise error
    yield  # makes it a generator


def _rejoined(head: list[Block], rest: Iterator[Block]) -> Iterator[Block]:
    while head:
        yield head.pop(0)
    yield from rest


def _first_lines(blocks: list[Block]) -> Iterator[bytes]:
    """Lines that are neither blank nor refused; how many does not depend on how they came in blocks."""
    rows = size = 0
    for _, _, lines in blocks:
        for line in lines:
            size += len(line)
            if not isinstance(line, RefusedLine) and line.strip():
                yield line
                rows += 1
            if rows == _LOOK_ROWS or size >= _LOOK_BYTES:
                return


def _delimiter(line: bytes, *, named_csv: bool) -> str | None:
    """Separator of the columns of a CSV file; None if the file is not CSV."""
    if line.lstrip().startswith((b"{", b"[")):
        return None
    for delimiter in DELIMITERS:
        if shape_of(dict.fromkeys(columns_of(line, delimiter))):
            return delimiter
    return DELIMITERS[0] if named_csv else None


def _loaded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
