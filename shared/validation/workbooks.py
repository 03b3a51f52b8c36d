"""Excel workbooks (.xlsx) as rows, with python-calamine, which only the validation job has. It holds a sheet as a whole
and ends the process where memory runs out, so a workbook's sizes are checked first."""

import posixpath
import re
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from importlib.util import find_spec
from itertools import chain, islice
from typing import IO, Any
from xml.parsers import expat

import orjson

from shared.validation.codes import MAX_ROW_BYTES, MAX_WORKBOOK_BYTES, MAX_WORKBOOK_CELLS
from shared.validation.containers import ZIP_ERRORS, inflated, refuse_bomb, spooled
from shared.validation.lines import Line, RefusedLine, Unreadable
from shared.validation.tables import HEADER_ROWS, UNNAMED, Note, named

_WORKBOOK, _RELATIONS, _TEXTS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedstrings.xml"
_STYLES = "xl/styles.xml"
_LITERAL = r'"[^"]*"|\\.|[ ()+-]'
_CODE = re.compile(rf"(?:\[\$-[^]]*])?((?:{_LITERAL})*0(?:{_LITERAL})*0(?:{_LITERAL}|0)*)(?:;.*)?")
_CODE_PART = re.compile(r'"([^"]*)"|\\(.)|0')
_LAST_ROW, _LAST_COLUMN = 2**20, 2**14  # https://support.microsoft.com/office/excel-specifications-and-limits
_STYLE_PIECES = 64  # of the styles so much is read
_DAMAGED = "it is damaged or cut off"

Table = tuple[list[str], Iterator[Line]]


def open_workbook(chunks: Iterable[bytes], note: Note, is_header: Callable[[list[str]], bool]) -> Table:
    """The columns, and each row as a line of JSON, of the one visible sheet that has some. The first row with a value,
    or one below it that `is_header`, names them. Values are texts as people read them: `00450`, 2026-01-31, of a
    formula its last value. A value of merged cells counts for each of their rows. Raises Unreadable
    (`invalid_workbook`, `workbook_sheets`, `workbook_needs_job`, `csv_header`, `not_utf8`, `decompression_bomb`)."""
    if find_spec("python_calamine") is None:
        raise Unreadable("workbook_needs_job")
    with spooled(chunks) as file:
        try:
            found = _chosen(_sheets(file), note)
            if found is None:
                return [], iter(())
            rows = _rows(file, found)
        except ZIP_ERRORS as error:
            detail = "it has a password" if "password" in str(error) else _DAMAGED
            raise Unreadable("invalid_workbook", detail) from error
        except (expat.ExpatError, OSError) as error:
            raise Unreadable("invalid_workbook", _DAMAGED) from error
    first = list(islice(((number, cells) for number, cells in rows if any(cells)), HEADER_ROWS))
    place = next((place for place, (_, cells) in enumerate(first) if is_header(named(_stripped(cells)))), 0)
    columns = named(_stripped(first[place][1])) if first else []
    if not columns:
        raise Unreadable("csv_header")
    number = first[place][0]
    if found.hidden_rows:
        note("hidden_rows", None, 0, str(found.hidden_rows))
    if place:
        note("lines_above_header", number, 0, f"row {number}")
    without_value = {row for row in found.without_value if row > number}
    return columns, _lines(chain(first[place:], rows), columns, without_value, note)


def _stripped(header: list[str]) -> list[str]:
    last = max((number for number, cell in enumerate(header, 1) if cell), default=0)
    return header[:last]


class _Sheet:
    """What the XML of a sheet has, before its table is made."""

    def __init__(self, name: str, visible: bool, codes: dict[int, str]) -> None:
        self.name, self.visible = name, visible
        self.codes = codes  # number of a style -> what `_coded` takes
        self.coded = array("Q")  # row, column and style of the cells that have one, in order
        self.rows = self.hidden_rows = 0  # with a value, or with what should be one
        self.without_value: set[int] = set()  # rows with an error, or with a formula that was never computed
        self._row = self._column = self._filled = 0
        self._far = (0, 0)
        self._kind = ""
        self._formula = self._value = self._reads = self._hidden = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "row":
                self._row, self._column = int(attributes.get("r", self._row + 1)), 0
                self._hidden = attributes.get("hidden") in ("1", "true")
            case "c":
                self._place(attributes.get("r", ""))
                self._kind, self._formula, self._value = attributes.get("t", ""), False, False
                if (style := int(attributes.get("s", 0))) in self.codes:
                    self.coded.append(self._row << 32 | self._column << 16 | style)
            case "f":
                self._formula = True
            case "v" | "t":
                self._reads = True

    def text(self, _: str) -> None:
        self._value |= self._reads

    def end(self, name: str) -> None:
        self._reads = False
        if name.rpartition(":")[2] != "c":
            return
        lacks = self._kind == "e" or (self._formula and not self._value and self._kind != "str")
        if lacks:
            self.without_value.add(self._row)
        if self._value or lacks:
            self.rows += self._row != self._filled
            self.hidden_rows += self._hidden and self._row != self._filled
            self._filled = self._row
            self._far = max(self._far[0], self._row), max(self._far[1], self._column)

    def _place(self, reference: str) -> None:
        letters = reference.rstrip("0123456789")
        self._row = int(reference[len(letters) :] or self._row)
        column = 0
        for letter in letters[:4]:
            column = column * 26 + int(letter, 36) - 9
        self._column = column or self._column + 1
        if not (0 < self._row <= _LAST_ROW and self._column <= _LAST_COLUMN):
            raise Unreadable("invalid_workbook", _DAMAGED)

    def check(self) -> None:
        if self._far[0] * self._far[1] > MAX_WORKBOOK_CELLS:
            where = f"the sheet {self.name} reaches to row {self._far[0]:,} and column {self._far[1]:,}"
            raise Unreadable("invalid_workbook", where)


def _sheets(file: IO[bytes]) -> list[_Sheet]:
    """All worksheets, in order. Reads every entry of the archive to its end, whatever size it says it has."""
    packed = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename.replace("\\", "/").lower(): info for info in archive.infolist()}
        if _WORKBOOK not in entries:
            if "xl/workbook.bin" in entries:
                raise Unreadable("invalid_workbook", "it is of the binary format (.xlsb)")
            raise Unreadable("not_utf8", "a document of an office suite")
        if len(entries) != len(archive.infolist()):
            raise Unreadable("invalid_workbook", _DAMAGED)
        sheets = _listed(archive, entries)
        written = 0
        for name, info in entries.items():
            parse = _parser(sheets.get(name), is_texts=name == _TEXTS)
            for piece in inflated(archive, info):
                written += len(piece)
                refuse_bomb(packed, written)
                if written > MAX_WORKBOOK_BYTES:
                    size = f"it is larger than {MAX_WORKBOOK_BYTES // 2**20} MiB when it is unpacked"
                    raise Unreadable("invalid_workbook", size)
                parse(piece, False)
            parse(b"", True)
    for sheet in sheets.values():
        sheet.check()
    return list(sheets.values())


def _parser(sheet: _Sheet | None, *, is_texts: bool) -> Any:
    """What takes the pieces of an entry: of a sheet its cells, of the texts their number."""
    if sheet is None and not is_texts:
        return lambda piece, last: None
    parser = expat.ParserCreate()
    if sheet is None:
        parser.StartElementHandler = _check_count
    else:
        parser.StartElementHandler, parser.EndElementHandler = sheet.start, sheet.end
        parser.CharacterDataHandler = sheet.text
    return parser.Parse


def _check_count(name: str, attributes: dict[str, str]) -> None:
    """calamine reserves memory for as many texts as the file says it has."""
    if name.rpartition(":")[2] == "sst" and int(attributes.get("uniqueCount", 0)) > MAX_WORKBOOK_CELLS:
        raise Unreadable("invalid_workbook", _DAMAGED)


def _listed(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> dict[str, _Sheet]:
    """Entry -> worksheet, in the workbook's order."""
    targets: dict[str, str] = {}
    listed: list[tuple[str, _Sheet]] = []
    codes = _codes(archive, entries)

    def relation(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "Relationship" and attributes["Type"].endswith("/worksheet"):
            targets[attributes["Id"]] = posixpath.normpath(posixpath.join("/xl", attributes["Target"]))[1:].lower()

    def sheet(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "sheet":
            visible = attributes.get("state", "visible") == "visible"
            identity = next((value for key, value in attributes.items() if key.endswith(":id")), "")
            listed.append((identity, _Sheet(attributes["name"], visible, codes)))

    for entry, handler in ((_RELATIONS, relation), (_WORKBOOK, sheet)):
        parser = expat.ParserCreate()
        parser.StartElementHandler = handler
        try:
            parser.Parse(_small(archive, entries[entry]), True)
        except KeyError as error:
            raise Unreadable("invalid_workbook", _DAMAGED) from error
    return {targets[identity]: sheet for identity, sheet in listed if identity in targets}


def _codes(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> dict[int, str]:
    """Number of each style that shows codes (`00000`, `"PN-"0000`) -> their text with a NUL for each digit."""
    formats: dict[str, str] = {}
    styles: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "numFmt":
                formats[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            case "cellXfs":
                styles.clear()  # those before are of other kinds
            case "xf":
                styles.append(formats.get(attributes.get("numFmtId", ""), ""))
            case "cellStyles":
                parser.StartElementHandler = None

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    for piece in islice(inflated(archive, entries[_STYLES]), _STYLE_PIECES) if _STYLES in entries else ():
        parser.Parse(piece, False)
    return {
        style: _CODE_PART.sub(lambda part: "\0" if part[0] == "0" else part[1] or part[2] or "", code[1])
        for style, text in enumerate(styles[: 2**16])
        if (code := _CODE.fullmatch(text))
    }


def _coded(value: Any, code: str) -> Any:
    """The number as its format shows it. The first place takes all digits that there are too many."""
    if type(value) is not float or not value.is_integer() or not 0 <= value < 1e15:
        return value
    before, *others = code.split("\0")
    digits = str(int(value)).zfill(len(others))
    more = len(digits) - len(others) + 1
    return before + "".join(map("".join, zip([digits[:more], *digits[more:]], others, strict=True)))


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as entry:
        text = entry.read(MAX_ROW_BYTES + 1)
    if len(text) > MAX_ROW_BYTES:
        raise Unreadable("invalid_workbook", _DAMAGED)
    return text


def _chosen(sheets: list[_Sheet], note: Note) -> _Sheet | None:
    """The visible sheet with rows below a header; one with a header only if no other has more."""
    with_rows = [sheet for sheet in sheets if sheet.rows > 1]
    visible = [sheet for sheet in with_rows if sheet.visible]
    hidden = ", ".join(sheet.name for sheet in with_rows if not sheet.visible)
    if len(visible) > 1:
        raise Unreadable("workbook_sheets", ", ".join(sheet.name for sheet in visible))
    if hidden and not visible:
        raise Unreadable("invalid_workbook", f"only hidden sheets have rows ({hidden})")
    if hidden:
        note("hidden_sheets", None, 0, hidden)
    return next(iter(visible or [sheet for sheet in sheets if sheet.visible and sheet.rows]), None)


def _rows(file: IO[bytes], chosen: _Sheet) -> Iterator[tuple[int, list[str]]]:
    from python_calamine import CalamineError, load_workbook

    file.seek(0)
    try:
        with load_workbook(file) as book:
            sheet = book.get_sheet_by_name(chosen.name)
    except CalamineError as error:
        raise Unreadable("invalid_workbook", _DAMAGED) from error
    return _filled(sheet, chosen)


def _filled(sheet: Any, chosen: _Sheet) -> Iterator[tuple[int, list[str]]]:
    """Each row with its number, and the values of merged cells in all their rows."""
    if sheet.start is None:
        return
    first = sheet.start[1]
    merged = sorted(((top, left - first, bottom) for (top, left), (bottom, _) in sheet.merged_cell_ranges or ()))
    merged = [cells for cells in merged if cells[0] < cells[2]]
    merged.reverse()
    held: dict[int, tuple[int, str]] = {}  # column -> its last row and value
    chosen.coded.reverse()
    for number, cells in enumerate(sheet.iter_rows()):
        while chosen.coded and chosen.coded[-1] >> 32 <= number + 1:
            cell = chosen.coded.pop()
            column = (cell >> 16 & 0xFFFF) - 1 - first
            if 0 <= column < len(cells):
                cells[column] = _coded(cells[column], chosen.codes[cell & 0xFFFF])
        texts = [_text(cell) for cell in cells]
        while merged and merged[-1][0] == number:
            _, column, bottom = merged.pop()
            if 0 <= column < len(texts) and texts[column]:
                held[column] = bottom, texts[column]
        for column, (bottom, text) in held.items() if any(texts) else ():
            if number <= bottom:
                texts[column] = texts[column] or text
        yield number + 1, texts


def _text(value: Any) -> str:
    """A cell as a person reads it. Excel shows 15 digits (https://learn.microsoft.com/office/troubleshoot/excel)."""
    if type(value) is str:
        return value
    if type(value) is float:
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else format(value, ".15g")
    if type(value) is timedelta:
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return value.isoformat(" ") if type(value) is datetime else str(value)


def _lines(
    rows: Iterator[tuple[int, list[str]]], columns: list[str], without_value: set[int], note: Note
) -> Iterator[Line]:
    """`rows`: the header first. A row that repeats it is noted and not read."""
    _, header = next(rows)
    offset = number = 0
    try:
        for number, cells in rows:
            if number in without_value:
                line: bytes | RefusedLine = RefusedLine("cell_without_value", 0)
            elif cells == header:
                note("header_repeated", number, offset)
                continue
            elif any(map(str.strip, cells)):
                line = _line(columns, cells)
            else:
                continue
            yield number, offset, line
            offset += len(line) + 1
    except OverflowError as error:  # not a valid date
        raise Unreadable("invalid_workbook", _DAMAGED) from error
    for row in sorted(row for row in without_value if row > number):
        yield row, offset, RefusedLine("cell_without_value", 0)


def _line(columns: list[str], cells: list[str]) -> bytes | RefusedLine:
    beyond = [UNNAMED.format(number) for number in range(len(columns) + 1, len(cells) + 1)]
    line = orjson.dumps({column: cell for column, cell in zip([*columns, *beyond], cells, strict=False) if cell})
    return RefusedLine("row_too_long", len(line)) if len(line) > MAX_ROW_BYTES else line
