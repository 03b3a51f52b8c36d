"""CSV files as rows: each record becomes the JSON object of its columns."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.encodings import LEGACY, UNKNOWN, guessed
from shared.validation.formats import KNOWN_NAMES
from shared.validation.lines import Line, RefusedLine, Unreadable, decoded

DELIMITERS = ",;\t|"
csv.field_size_limit(MAX_ROW_BYTES)  # the process's; the default of 131,072 characters is less than a row may have

_SEPARATOR = re.compile(rb'"?sep=([^\w"\r\n ])"?\r?', re.IGNORECASE)  # what Excel writes and reads as a first line
UNNAMED = "column_{}"
# Of lines that are not UTF-8, what their encoding is guessed from.
_GUESS_BYTES, _GUESS_LINES = 4096, 1000
HEADER_ROWS = 10  # of which one may be the header, below a title
_LINES_MAX = 10_000  # of one record; they are held apart until it has ended
_TRIES = 8  # a file of nothing but odd quotation marks takes no longer than so many readings
# Of the file or a record that is kept: the code, line number, offset and detail, as `Findings.add` takes them.
Note = Callable[..., None]


class Dialect(NamedTuple):
    """How cells are told apart. `spaced`: a blank may stand before a quotation mark. `encoding`: where it is not UTF-8;
    empty if it is not known yet. `words`: what shows that it is this encoding."""

    delimiter: str
    spaced: bool = False
    encoding: str = ""
    words: str = ""


class _TextLine(NamedTuple):
    """`text` is None if it is not UTF-8."""

    number: int
    offset: int
    line: bytes | RefusedLine
    text: str | None


class Record(NamedTuple):
    """`cells`: or the code of why there are none. `is_utf8`: all of it. `size`: in bytes."""

    first: _TextLine
    cells: list[str] | str
    is_utf8: bool
    size: int


def dialects(lines: Sequence[bytes], names: Iterable[str] = ()) -> tuple[list[Dialect], Sequence[bytes]]:
    """Those a file may have, likelier with one of these `names`, and its lines without a first `sep=`."""
    named = _SEPARATOR.fullmatch(lines[0]) if len(lines) > 1 else None
    delimiters = [named[1].decode("latin-1")] if named else DELIMITERS
    others, encoding = b"\n".join(line for line in lines if decoded(line) is None), ("", "")
    if others:
        own = [name for name in names if not name.isascii()]
        among = tuple(one for one in LEGACY if any(name in others.decode(one, "replace") for name in own))
        encoding = guessed(others, among or LEGACY)
    spaced = (re.compile(re.escape(delimiter.encode()) + b' +"') for delimiter in delimiters)
    found = [any(map(pattern.search, lines)) for pattern in spaced]
    table = [Dialect(one, is_spaced, *encoding) for one, is_spaced in zip(delimiters, found, strict=True)]
    return table, lines[1:] if named else lines


def settled(dialect: Dialect, header: Record) -> Dialect:
    """Without the encoding where the header does not show it: more lines may."""
    return dialect._replace(encoding="", words="") if header.is_utf8 else dialect


def first_records(lines: Sequence[bytes], dialect: Dialect) -> list[Record]:
    return [*_Reader(((1, 0, line) for line in lines), dialect, lambda *_: None).records()]


def columns_of(cells: Sequence[str] | str, dialect: Dialect) -> list[str]:
    """The columns that a header names, else empty: also for a table in Markdown, whose cells are padded."""
    if isinstance(cells, str) or (dialect.delimiter == "|" and len(cells) > 1 and not f"{cells[0]}{cells[-1]}".strip()):
        return []
    return named(cells)


def named(header: Sequence[str]) -> list[str]:
    """Names of a header's cells, numbered if they come again; empty if none has one, or two a format's."""
    given = [" ".join(cell.split()) for cell in header]
    names: list[str] = []
    for number, name in enumerate(given, 1):
        again = given[: number - 1].count(name)
        if name and again and name.casefold() in KNOWN_NAMES:
            return []
        names.append(f"{name}_{again + 1}" if name and again else name or UNNAMED.format(number))
    return names if any(given) and len(set(names)) == len(names) else []


def looks_like_table(records: Sequence[Record], dialect: Dialect) -> bool:
    """Whether the first records have the same number of cells, and more than one."""
    counts = {len(record.cells) for record in records[:5] if not isinstance(record.cells, str)}
    return len(counts) == 1 and max(counts) > 1 and bool(columns_of(records[0].cells, dialect))


def read_table(lines: Iterable[Line], dialect: Dialect, note: Note, names: Sequence[str] = ()) -> Iterator[Line]:
    """One line of JSON a record, numbered by its first line. The first that is not blank names the columns, or the one
    with these `names`, below lines that are noted. Empty cells and repeated headers are left out. Raises Unreadable
    `csv_header`."""
    reader = _Reader(lines, dialect, note)
    above, header = 0, [""]
    for first, cells, is_utf8, size in reader.records():
        number, offset, line, _ = first
        raw = line if isinstance(line, bytes) else b""
        is_blank = _is_blank(cells)
        if not reader.columns:
            columns = columns_of(cells, dialect)
            if _SEPARATOR.fullmatch(raw):
                continue
            if names and columns != names:
                above += not is_blank
            elif is_blank and not raw.strip():
                yield number, offset, b""
            elif not columns:
                raise Unreadable("csv_header")
            else:
                reader.columns, header = columns, [*map(_bare, cells)]
                if above:
                    note("lines_above_header", number, offset, f"row {number}")
        elif isinstance(cells, str):
            yield number, offset, RefusedLine(cells, size)
        elif is_blank:
            yield number, offset, b""
        elif _bare(cells[0]) == header[0] and [*map(_bare, cells)] == header:
            note("header_repeated", number, offset)
        else:
            if not is_utf8:
                note("encoding_guessed", number, offset, reader.guess)
            row = {column: cell for column, cell in zip(reader.columns, cells, strict=False) if cell}
            yield number, offset, orjson.dumps(row)


def _is_blank(cells: Sequence[str] | str) -> bool:
    return not isinstance(cells, str) and not any(map(str.strip, cells))


def _bare(cell: str) -> str:
    """Without what a header may have around its names where files are joined: a byte order mark, quotation marks."""
    return " ".join(cell.strip('\ufeff"').split())


class _Reader:
    """Lines to records, with the csv module, which is given the text of one line after the other. Of text that is not
    UTF-8 the encoding is guessed, unless as many lines or more are UTF-8."""

    def __init__(self, lines: Iterable[Line], dialect: Dialect, note: Note) -> None:
        self.dialect, self._note = dialect, note
        self.columns: list[str] = []
        self.guess = ""  # in words
        self._lines = self._decodable(map(_with_text, lines))
        self._again: deque[_TextLine] = deque()  # lines that were read and are no record
        self._held: list[_TextLine] = []  # of the record that is read
        self._most = self._size = 0
        self._is_utf8 = self._is_text = True

    def records(self) -> Iterator[Record]:
        """Lines joined by a quotation that are no record: the first alone is refused, reading continues behind it."""
        table = csv.reader(self, delimiter=self.dialect.delimiter, skipinitialspace=self.dialect.spaced, strict=True)
        tries = 0  # how often lines were joined that had been joined without success
        while True:
            tries = tries if self._again else 0
            self._held, self._most = [], 1 if tries >= _TRIES else _LINES_MAX
            self._size, self._is_utf8, self._is_text = 0, True, True
            try:
                cells = self._fitting(next(table))
            except StopIteration:
                return
            except csv.Error:
                cells = "invalid_csv"
            first, *others = self._held
            if others and isinstance(cells, str):
                self._again.extendleft(reversed(others))
                tries, cells, self._size = tries + 1, "invalid_csv", len(first.line)
            elif isinstance(first.line, RefusedLine):
                cells = first.line.code
            elif not self._is_text:
                cells = "invalid_utf8"
            yield Record(first, cells, self._is_utf8, self._size)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._held) >= self._most or self._size > MAX_ROW_BYTES:
            raise csv.Error
        found = self._again.popleft() if self._again else next(self._lines)
        self._size += len(found.line) + bool(self._held)
        self._held.append(found)
        if isinstance(found.line, RefusedLine):
            raise csv.Error
        text = found.text
        if text is None:
            self._is_utf8, text = False, decoded(found.line, self.dialect.encoding or "latin-1")
            self._is_text &= text is not None
        return f"{found.line.decode('latin-1') if text is None else text}\n"

    def _fitting(self, cells: list[str]) -> list[str] | str:
        """The cells, one for each column. Only cells without text may be missing or extra."""
        missing, extra = self.columns[len(cells) :], cells[len(self.columns) :]
        lacks = any(name != UNNAMED.format(len(cells) + n) for n, name in enumerate(missing, 1))
        is_wrong = self.columns and (lacks or any(extra)) and not _is_blank(cells)
        return "csv_columns" if is_wrong else cells

    def _decodable(self, lines: Iterator[_TextLine]) -> Iterator[_TextLine]:
        """The same; some are held where their encoding has to be guessed."""
        utf8 = 0  # lines with other characters than those of ASCII
        for line in lines:
            held = [line]
            if not self.guess and _is_other(line):
                size = len(line.line)
                while size < _GUESS_BYTES and len(held) < _GUESS_LINES and (more := next(lines, None)):
                    held.append(more)
                    size += len(more.line) if _is_other(more) else 0
                utf8 += sum(one.text is not None and not one.text.isascii() for one in held)
                self._guess_from([one.line for one in held if isinstance(one.line, bytes) and _is_other(one)], utf8)
            elif not self.guess:
                utf8 += line.text is not None and not line.text.isascii()
            yield from held

    def _guess_from(self, others: list[bytes], utf8: int) -> None:
        among = (self.dialect.encoding,) if self.dialect.encoding else LEGACY  # by the header
        encoding, words = (UNKNOWN, "") if utf8 >= len(others) else guessed(b"\n".join(others), among)
        self.dialect = self.dialect._replace(encoding=encoding)
        self.guess = f"{encoding}: {self.dialect.words or words}"


def _is_other(line: _TextLine) -> bool:
    return line.text is None and isinstance(line.line, bytes)


def _with_text(found: Line) -> _TextLine:
    return _TextLine(*found, None if isinstance(found[2], RefusedLine) else decoded(found[2]))
