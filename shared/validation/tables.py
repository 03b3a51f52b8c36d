"""CSV files as rows: each record becomes the JSON object of its columns."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.encodings import LEGACY, UNKNOWN, guessed
from shared.validation.formats import KNOWN_NAMES
from shared.validation.lines import UTF8_MARK, Block, RefusedLine, Unreadable, decoded

DELIMITERS = ",;\t|"
csv.field_size_limit(MAX_ROW_BYTES)  # the process's; the default of 131,072 characters is less than a row may have

_SEPARATOR = re.compile(rb'"?sep=([^\w"\r\n ])"?\r?', re.IGNORECASE)  # what Excel writes and reads as a first line
UNNAMED = "column_{}"
# Of records that are not UTF-8, what their encoding is guessed from.
_GUESS_BYTES, _GUESS_RECORDS = 4096, 1000
HEADER_ROWS = 10  # of which one may be the header, below a title
_LINES_MAX = 10_000  # of one record; they are held apart until it has ended
_TRIES = 8  # a file of nothing but odd quotation marks takes no longer than so many readings
_Line = tuple[int, int, bytes | RefusedLine]
# Of the file or a record that is kept: the code, line number, offset and detail, as `Findings.add` takes them.
Note = Callable[..., None]


class Dialect(NamedTuple):
    """How cells are told apart. `spaced`: a blank may stand before a quotation mark. `encoding`: where it is not UTF-8;
    empty if it is not known yet. `words`: what shows that it is this encoding."""

    delimiter: str
    spaced: bool = False
    encoding: str = ""
    words: str = ""


def dialects(lines: Sequence[bytes], names: Iterable[str] = ()) -> tuple[list[Dialect], bytes]:
    """The dialects that a file may have, and its header: the first line, or the second if the first says `sep=`.

    An encoding in which the lines have one of these names of columns is likelier than others.
    """
    named = _SEPARATOR.fullmatch(lines[0]) if len(lines) > 1 else None
    delimiters, header = ([named[1].decode("latin-1")], lines[1]) if named else (DELIMITERS, lines[0])
    others, encoding = b"\n".join(_not_utf8(lines)), ("", "")
    if others:
        own = [name for name in names if not name.isascii()]
        among = tuple(one for one in LEGACY if any(name in others.decode(one, "replace") for name in own))
        encoding = guessed(others, among or LEGACY)
    spaced = (re.compile(re.escape(delimiter.encode()) + b' +"') for delimiter in delimiters)
    found = [any(map(pattern.search, lines)) for pattern in spaced]
    return [Dialect(one, is_spaced, *encoding) for one, is_spaced in zip(delimiters, found, strict=True)], header


def settled(dialect: Dialect, header: bytes) -> Dialect:
    """Without the encoding where the header does not show it: more records may."""
    return dialect._replace(encoding="", words="") if _is_utf8(header) else dialect


def columns_of(line: bytes, dialect: Dialect) -> list[str]:
    """The columns that a header names, one without a name by its number; empty if it cannot be a header.

    A line between two bars is of a table in Markdown, whose cells are padded.
    """
    if dialect.delimiter == "|" and line.strip().startswith(b"|") and line.strip().endswith(b"|"):
        return []
    cells = _cells(line, dialect)
    return [] if isinstance(cells, str) else named(cells)


def named(header: Sequence[str]) -> list[str]:
    """A name for each cell of a header; empty if none has one, or two have the same that a format knows.

    Others that come again, such as the comments of Jira, are numbered.
    """
    given = [" ".join(cell.split()) for cell in header]
    names: list[str] = []
    for number, name in enumerate(given, 1):
        again = given[: number - 1].count(name)
        if name and again and name.casefold() in KNOWN_NAMES:
            return []
        names.append(f"{name}_{again + 1}" if name and again else name or UNNAMED.format(number))
    return names if any(given) and len(set(names)) == len(names) else []


def records_of(lines: Sequence[bytes], dialect: Dialect) -> list[bytes]:
    """The lines, the first of which may go on over line breaks in quotation marks."""
    for end in range(1, len(lines) + 1 if _is_open(lines[0], dialect, was_open=False) else 1):
        record = b"\n".join(lines[:end])
        if not isinstance(_cells(record, dialect), str):
            return [record, *lines[end:]]
    return [*lines]


def looks_like_table(lines: Sequence[bytes], dialect: Dialect) -> bool:
    """Whether the first lines have the same number of cells, and more than one."""
    counts = {len(cells) for line in lines[:5] if not isinstance(cells := _cells(line, dialect), str)}
    return len(counts) == 1 and max(counts) > 1 and bool(columns_of(lines[0], dialect))


def read_table(blocks: Iterable[Block], dialect: Dialect, note: Note, header: bytes = b"") -> Iterator[Block]:
    """One block a record, numbered by the line it starts on. The first that is not blank names the columns, or `header`
    below lines that are noted and not read.

    Empty cells are left out, a record of nothing else is a blank line, and one that repeats the header is noted and
    not read. Raises Unreadable `csv_header`.
    """
    reader = _TableReader(dialect, note)
    above, names = 0, columns_of(header, dialect)
    for number, offset, record in reader.decodable(_records(blocks, reader)):
        if (
            names
            and not reader.columns
            and not isinstance(record, RefusedLine)
            and columns_of(record, dialect) != names
        ):
            above += not reader.is_blank(record) and not _SEPARATOR.fullmatch(record)
            continue
        if above:
            note("lines_above_header", number, offset, f"row {number}")
            above = 0
        if not isinstance(record, RefusedLine) and reader.is_blank(record) and (reader.columns or not record.strip()):
            yield number, offset, [b""]
        elif isinstance(record, RefusedLine):
            if not reader.columns:
                raise Unreadable("csv_header")
            yield number, offset, [record]
        elif reader.columns and reader.repeats_header(record):
            note("header_repeated", number, offset)
        elif reader.columns:
            yield number, offset, [reader.row(number, offset, record)]
        elif not _SEPARATOR.fullmatch(record):
            reader.columns, reader.header = columns_of(record, dialect), record
            if not reader.columns:
                raise Unreadable("csv_header")


class _TableReader:
    """Records to rows. Of text that is not UTF-8 the encoding is guessed, unless as many records or more are UTF-8."""

    def __init__(self, dialect: Dialect, note: Note) -> None:
        self.dialect, self._note = dialect, note
        self.columns: list[str] = []
        self.header = b""
        self._guess: str | None = None  # in words
        self._utf8_records = 0  # with other characters than those of ASCII
        self._of_blanks = f' \t\r\n"{dialect.delimiter}'.encode()

    def decodable(self, records: Iterator[_Line]) -> Iterator[_Line]:
        """The same; some are held where their encoding has to be guessed."""
        for line in records:
            held = [line]
            if self._guess is None and not _is_utf8(line[2]):
                size = len(line[2])
                while size < _GUESS_BYTES and len(held) < _GUESS_RECORDS and (more := next(records, None)):
                    held.append(more)
                    size += 0 if _is_utf8(more[2]) else len(more[2])
                self._guess_from([record for _, _, record in held if isinstance(record, bytes)])
            elif self._guess is None and isinstance(line[2], bytes):
                self._utf8_records += not line[2].isascii()
            yield from held

    def _guess_from(self, records: list[bytes]) -> None:
        others = _not_utf8(records)
        utf8 = self._utf8_records + sum(not one.isascii() for one in records) - len(others)
        among = (self.dialect.encoding,) if self.dialect.encoding else LEGACY  # by the header
        encoding, words = (UNKNOWN, "") if utf8 >= len(others) else guessed(b"\n".join(others), among)
        self.dialect = self.dialect._replace(encoding=encoding)
        self._guess = f"{encoding}: {self.dialect.words or words}"

    def is_blank(self, record: bytes) -> bool:
        if record.strip(self._of_blanks):
            return False
        cells = _cells(record, self.dialect)
        return not isinstance(cells, str) and not any(map(str.strip, cells))

    def repeats_header(self, record: bytes) -> bool:
        """Whether files were joined with the header of each. One may have other quotation marks, or a mark before."""
        record = record.removeprefix(UTF8_MARK)
        alike = record.translate(None, self._of_blanks) == self.header.translate(None, self._of_blanks)
        return alike and columns_of(record, self.dialect) == self.columns

    def row(self, number: int, offset: int, record: bytes) -> bytes | RefusedLine:
        found = self.fitting(record)
        if isinstance(found, str):
            return RefusedLine(found, len(record))
        if not _is_utf8(record):
            self._note("encoding_guessed", number, offset, self._guess)
        return orjson.dumps({column: cell for column, cell in zip(self.columns, found, strict=False) if cell})

    def fitting(self, record: bytes) -> list[str] | str:
        """A cell for each column, or the code of why there is none. Only cells without text may be missing or extra."""
        cells = _cells(record, self.dialect)
        if isinstance(cells, str):
            return cells
        missing, extra = self.columns[len(cells) :], cells[len(self.columns) :]
        lacks = any(name != UNNAMED.format(len(cells) + n) for n, name in enumerate(missing, 1))
        return "csv_columns" if lacks or any(extra) else cells


def _not_utf8(records: Iterable[bytes]) -> list[bytes]:
    return [record for record in records if not _is_utf8(record)]


def _is_utf8(text: bytes | RefusedLine) -> bool:
    return isinstance(text, RefusedLine) or decoded(text) is not None


def _cells(record: bytes, dialect: Dialect) -> list[str] | str:
    """The record's cells, or the code of why there are none."""
    text = decoded(record)
    if text is None and (text := decoded(record, dialect.encoding or "latin-1")) is None:
        return "invalid_utf8"
    try:
        (cells,) = csv.reader(
            [text.removesuffix("\r")], delimiter=dialect.delimiter, skipinitialspace=dialect.spaced, strict=True
        )
    except (csv.Error, ValueError):
        return "invalid_csv"
    return cells


def _records(blocks: Iterable[Block], reader: _TableReader) -> Iterator[_Line]:
    """Lines joined while a quotation is open.

    If the joined lines are no record, only the first of them is refused, and reading continues with the second: one odd
    quotation mark hides no other row.
    """
    again: deque[_Line] = deque()
    source = _lines(blocks)
    end = tries = 0  # the last line that was joined without success, and how often lines up to it were
    while True:
        line = again.popleft() if again else next(source, None)
        if line is None:
            return
        if isinstance(line[2], RefusedLine) or not _is_open(line[2], reader.dialect, was_open=False):
            yield line
            continue
        tries = tries + 1 if line[0] <= end else 0
        held = [line]
        record = _joined(held, again, source, reader) if tries < _TRIES else None
        if record is None:
            yield line[0], line[1], RefusedLine("invalid_csv", len(line[2]))
            again.extendleft(reversed(held[1:]))
            end = max(end, held[-1][0])
        else:
            yield line[0], line[1], record


def _joined(held: list[_Line], again: deque[_Line], source: Iterator[_Line], reader: _TableReader) -> bytes | None:
    """The record that begins with the line held, None if there is none; every line that was read is held then."""
    size = len(held[0][2])
    while size <= MAX_ROW_BYTES and len(held) < _LINES_MAX:
        line = again.popleft() if again else next(source, None)
        if line is None:
            return None
        held.append(line)
        if isinstance(line[2], RefusedLine):
            return None
        size += len(line[2]) + 1
        if not _is_open(line[2], reader.dialect, was_open=True):
            record = b"\n".join(part for _, _, part in held if isinstance(part, bytes))
            fits = isinstance(reader.fitting(record), list) if reader.columns else True
            return record if fits else None
    return None


def _lines(blocks: Iterable[Block]) -> Iterator[_Line]:
    for number, offset, lines in blocks:
        for line in lines:
            yield number, offset, line
            offset += len(line) + 1
            number += 1


def _is_open(line: bytes, dialect: Dialect, *, was_open: bool) -> bool:
    """Whether a quotation is open at the line's end. A mark inside a cell that does not begin with one is text."""
    if b'"' not in line:
        return was_open
    return _closed(dialect.delimiter, dialect.spaced, was_open).fullmatch(line) is None


@lru_cache
def _closed(delimiter: str, spaced: bool, was_open: bool) -> re.Pattern[bytes]:
    """Lines at whose end no quotation is open. Nothing is read twice, so that any line takes linear time."""
    end, blanks = re.escape(delimiter.encode()), b" *+" if spaced else b""
    text = b"[^%b]*+" % end if delimiter.isascii() else b"(?:(?!%b).)*+" % end
    quoted = b'[^"]*+(?:""[^"]*+)*+"' + text
    cell = b'(?:%b"%b|(?!%b")%b)' % (blanks, quoted, blanks, text)
    return re.compile((quoted if was_open else cell) + b"(?:%b%b)*+" % (end, cell), re.DOTALL)
