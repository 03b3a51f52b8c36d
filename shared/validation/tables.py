"""CSV files as rows: each record becomes the JSON object of its columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.lines import Block, RefusedLine, Unreadable

DELIMITERS = ",;\t"
csv.field_size_limit(MAX_ROW_BYTES)  # the process's; the default of 131,072 characters is less than a row may have


def columns_of(line: bytes, delimiter: str) -> list[str]:
    """The columns that a header names; empty if it cannot be one."""
    cells = _cells(line, delimiter)
    names = [] if isinstance(cells, str) else [cell.strip() for cell in cells]
    return names if all(names) and len(set(names)) == len(names) else []


def read_table(blocks: Iterable[Block], delimiter: str) -> Iterator[Block]:
    """One block a record, numbered by the line it starts on. The first that is not blank names the columns.

    Empty cells are left out. Raises Unreadable `csv_header`.
    """
    columns: list[str] = []
    for number, offset, record in _records(blocks):
        if isinstance(record, RefusedLine) or not record.strip():
            yield number, offset, [record]
        elif columns:
            yield number, offset, [_object(record, columns, delimiter)]
        else:
            columns = columns_of(record, delimiter)
            if not columns:
                raise Unreadable("csv_header")


def _object(record: bytes, columns: list[str], delimiter: str) -> bytes | RefusedLine:
    cells = _cells(record, delimiter)
    if isinstance(cells, str):
        return RefusedLine(cells, len(record))
    if len(cells) != len(columns):
        return RefusedLine("csv_columns", len(record))
    return orjson.dumps({column: cell for column, cell in zip(columns, cells, strict=True) if cell})


def _cells(record: bytes, delimiter: str) -> list[str] | str:
    """The record's cells, or the code of why there are none."""
    try:
        text = record.decode()
    except UnicodeDecodeError:
        return "invalid_utf8"
    try:
        (cells,) = csv.reader([text.removesuffix("\r")], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return "invalid_csv"
    return cells


def _records(blocks: Iterable[Block]) -> Iterator[tuple[int, int, bytes | RefusedLine]]:
    """Lines joined while a quotation is open: quotes inside one are doubled, so a whole record has an even number."""
    held: list[bytes] = []
    size = quotes = 0
    start = (0, 0)
    for number, offset, lines in blocks:
        for line in lines:
            if not size:
                start = (number, offset)
            if isinstance(line, bytes):
                held.append(line)
                quotes += line.count(b'"')
            size += len(line) + 1
            if size > MAX_ROW_BYTES:
                held = []
            if quotes % 2 == 0 or isinstance(line, RefusedLine):
                yield *start, _record(held, size)
                held, size, quotes = [], 0, 0
            offset += len(line) + 1
            number += 1
    if size:
        yield *start, _record(held, size)


def _record(lines: list[bytes], size: int) -> bytes | RefusedLine:
    return RefusedLine("row_too_long", size) if size > MAX_ROW_BYTES else b"\n".join(lines)
