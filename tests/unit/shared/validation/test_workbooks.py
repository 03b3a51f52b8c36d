"""Excel workbooks: which sheet is read, what its cells become, and what is reported of those that cannot be read."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from shared.validation.codes import MAX_WORKBOOK_CELLS
from tests.paths import ROOT
from tests.workbooks import sheet_data, workbook, zipped

pytest.importorskip("python_calamine", reason="the validation job reads workbooks with it")

HEADER = ["prompt", "completion"]
PAIRS = [[f"question {n}", f"answer {n}"] for n in range(60)]
LINES = b"\n".join(json.dumps(dict(zip(HEADER, pair, strict=True))).encode() for pair in PAIRS)
GOOD = [HEADER, *PAIRS]
WITH_TITLE_SHEET = {"Notes": [["How this was made"]], "Data": GOOD, "Empty": []}
PREFIXED = sheet_data(GOOD).replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:")
TEXTS = "".join(f"<si><r><t>{text[:3]}</t></r><r><t>{text[3:]}</t></r></si>" for row in GOOD for text in row)
INDEXED = sheet_data([[f'<c t="s"><v>{2 * n + m}</v></c>' for m in range(2)] for n in range(61)])
NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'

FORMATTED = '<row r="1048576"><c r="XFD1048576" s="1"/></row>'

READ = {
    "one sheet": workbook({"Data": GOOD}),
    "empty rows before the header and at the end": workbook({"Data": [[], [], *GOOD, [], [None, None], [""]]}),
    "an empty column before": workbook({"Data": [[None, *row] for row in GOOD]}),
    "a sheet with a title and an empty one": workbook(WITH_TITLE_SHEET),
    "texts in a table of their own, in runs": workbook(
        {"Data": INDEXED}, xl__sharedStrings=f"<sst {NAMESPACE}>{TEXTS}</sst>"
    ),
    "names with a prefix": workbook(
        {"Data": PREFIXED.replace("<x:sheetData", f"<x:sheetData {NAMESPACE.replace('xmlns', 'xmlns:x')}")}
    ),
    "cells without references": workbook({"Data": sheet_data(GOOD).replace(' r="', ' spans="')}),
    "formatted cells far below": workbook(
        {"Data": sheet_data(GOOD).replace("</sheetData>", f"{FORMATTED}</sheetData>")}
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("size", [1, 10**9])
@pytest.mark.parametrize("data", READ.values(), ids=READ)
def test_a_workbook_has_the_rows_of_the_same_json(check, rows, data, size) -> None:
    expected = check(LINES, rows(20, start=1000)).result.version
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    checked = check(chunks, rows(20, start=1000), file_name="data")
    assert (checked.codes, checked.result.version) == ({}, expected)
    assert (checked.result.report.container, checked.result.report.format) == ("xlsx", "prompt_completion")


def test_entries_in_any_order_are_a_workbook(check, rows) -> None:
    source = zipfile.ZipFile(io.BytesIO(workbook({"Data": GOOD})))
    for first in source.namelist():
        names = sorted(source.namelist(), key=lambda name: name != first)
        data = zipped({name: source.read(name).decode() for name in names})
        assert check(data, rows(20, start=1000)).codes == {}, first


CELLS: dict[str, tuple[Any, str]] = {
    "a whole number": (1.0, "1"),
    "a large number": (1e15, "1000000000000000"),
    "a number that is not exact": (0.1 + 0.2, "0.3"),
    "a negative number": (-2.5, "-2.5"),
    "a truth": (True, "True"),
    "a date": (date(2026, 1, 31), "2026-01-31"),
    "a date with a time": (datetime(2026, 1, 31, 14, 30), "2026-01-31 14:30:00"),  # noqa: DTZ001
    "a time": ('<c s="3"><v>0.604166666666667</v></c>', "14:30:00"),
    "hours": ('<c s="4"><v>1.0833333333333333</v></c>', "26:00:00"),
    "a date as text": ('<c t="d"><v>2026-01-31</v></c>', "2026-01-31"),
    "a number as text": ("007", "007"),
    "a formula of numbers": ("<c><f>1+1</f><v>2</v></c>", "2"),
    "a formula of texts": ('<c t="str"><f>A1</f><v>both</v></c>', "both"),
    "lines": ("a\nb", "a\nb"),
    "marks": ("<&>\"'", "<&>\"'"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("value", "text"), CELLS.values(), ids=CELLS)
def test_a_cell_is_learned_as_the_text_that_a_person_reads(check, rows, value, text) -> None:
    checked = check(workbook({"Data": [*GOOD, ["what?", value]]}), rows(20, start=1000))
    assert checked.codes == {}
    assert json.loads(checked.train.splitlines()[-1])["messages"][-1]["content"] == text


def test_merged_cells_count_for_each_of_their_rows_and_empty_ones_are_left_out(check, rows) -> None:
    sheet = sheet_data(
        [[*HEADER, "system", "note"], *([*pair, "Be brief." if n == 0 else None] for n, pair in enumerate(PAIRS))]
    )
    merged = '<mergeCells count="2"><mergeCell ref="C2:C31"/><mergeCell ref="A1:A1048576"/></mergeCells>'
    checked = check(workbook({"Data": sheet + merged}), rows(20, start=1000))
    assert checked.codes == {"eval_differs": ()}, "half of the rows have system text, and no held-out row"
    has_system = [json.loads(line)["messages"][0]["role"] == "system" for line in checked.train.splitlines()]
    assert has_system == [True] * 30 + [False] * 30


def test_rows_are_numbered_as_in_the_sheet(check, rows) -> None:
    table = [
        [],
        [],
        HEADER,
        *PAIRS,
        [],
        ["only a question"],
        ["q", '<c t="e"><v>#N/A</v></c>'],
        ["q", "<c><f>1+1</f></c>"],
    ]
    checked = check(workbook({"Data": table}), rows(20, start=1000))
    assert checked.codes == {"missing_field": (65,), "cell_without_value": (66, 67)}


def test_a_column_without_a_name_is_reported_and_not_lost(check, rows) -> None:
    checked = check(workbook({"Data": [GOOD[0], ["q", "a", None, "aside"], *PAIRS]}), rows(20, start=1000))
    (problem,) = checked.result.report.problems
    assert (problem.code, "column_4" in problem.message) == ("ignored_field", True)


def test_hidden_rows_of_another_sheet_are_reported(check, rows) -> None:
    data = workbook({"Old": [HEADER, ["q", "a"]], "Data": GOOD}, hidden=["Old"])
    checked = check(data, rows(20, start=1000))
    assert [(one.code, one.count, "Old" in one.message) for one in checked.result.report.problems] == [
        ("hidden_sheets", 1, True)
    ]


def test_rows_that_a_filter_has_hidden_are_read_and_counted(check, rows) -> None:
    plain = sheet_data(GOOD)
    hidden = plain.replace('<row r="4"', '<row r="4" hidden="1"').replace('<row r="7"', '<row r="7" hidden="1"')
    checked = check(workbook({"Data": hidden}), rows(20, start=1000))
    (problem,) = checked.result.report.problems
    assert (problem.code, problem.severity, problem.message[-3:]) == ("hidden_rows", "warning", " 2.")
    assert checked.train == check(workbook({"Data": plain}), rows(20, start=1000)).train


def far(reference: str) -> str:
    return f'<sheetData><row r="1"><c r="A1"><v>1</v></c></row><row><c r="{reference}"><v>1</v></c></row></sheetData>'


OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5000)
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "two sheets with rows": (workbook({"A": GOOD, "B": GOOD}), "workbook_sheets", "A, B"),
    "rows in a hidden sheet only": (workbook({"A": GOOD, "B": []}, hidden=["A"]), "invalid_workbook", "hidden sheets"),
    "no rows": (workbook({"A": []}), "empty_dataset", ""),
    "a header only": (workbook({"A": [HEADER]}), "empty_dataset", ""),
    "a name twice": (workbook({"A": [["prompt", "prompt"], ["q", "a"]]}), "csv_header", "twice"),
    "the old format, or a password": (OLD, "invalid_workbook", "it has a password, or is of the old format"),
    "the binary format": (
        zipped({"[Content_Types].xml": "", "xl/workbook.bin": ""}),
        "invalid_workbook",
        "binary format",
    ),
    "a letter": (zipped({"[Content_Types].xml": "", "word/document.xml": ""}), "not_utf8", "of an office suite"),
    "an OpenDocument": (
        zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"}),
        "not_utf8",
        "of an office suite",
    ),
    "half a workbook": (workbook({"A": GOOD})[:-30], "invalid_workbook", "damaged"),
    "no XML": (workbook({"A": "<sheetData>"}), "invalid_workbook", "damaged"),
    "a list of sheets only": (
        zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}),
        "invalid_workbook",
        "damaged",
    ),
    "a cell at the other end": (workbook({"A": far("XFD1048576")}), "invalid_workbook", "row 1,048,576"),
    "a cell behind the end": (workbook({"A": far("A99999999999")}), "invalid_workbook", "damaged"),
    "a column behind the end": (workbook({"A": far("ZZZZZZZZ1")}), "invalid_workbook", "damaged"),
    "a cell that is nowhere": (workbook({"A": far("??")}), "invalid_workbook", "damaged"),
    "texts without end": (
        workbook({"A": GOOD}, xl__sharedStrings=f'<sst {NAMESPACE} uniqueCount="{10**14}"/>'),
        "invalid_workbook",
        "damaged",
    ),
    "a text that is not there": (
        workbook({"A": [HEADER, ['<c t="s"><v>7</v></c>', "a"]]}),
        "invalid_workbook",
        "damaged",
    ),
    "an invalid date": (
        workbook({"A": [*GOOD, ["q", '<c s="4"><v>1e300</v></c>']]}),
        "invalid_workbook",
        "damaged",
    ),
    "entities": (workbook({"A": "<sheetData><row><c><v>&x;</v></c></row></sheetData>"}), "invalid_workbook", "damaged"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("size", [7, 10**9])
@pytest.mark.parametrize(("data", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_one_error_that_says_what_it_is(check, rows, data, code, words, size) -> None:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    errors = [one for one in check(chunks, rows(20)).result.report.problems if one.severity == "error"]
    assert [(one.code, words in one.message) for one in errors] == [(code, True)]


@pytest.mark.ci
def test_a_workbook_that_grows_without_end_is_refused_whatever_size_it_says_it_has(check) -> None:
    data = bytearray(workbook({"A": GOOD}, xl__media__picture=" " * 200_000_000))
    assert check(bytes(data)).errors == ["decompression_bomb"]
    at = data.rindex(b"PK\1\2", 0, data.rindex(b"xl/media/picture.xml"))
    data[at + 24 : at + 28] = (5).to_bytes(4, "little")  # its size in the directory
    assert check(bytes(data)).errors == ["decompression_bomb"]


def test_a_sheet_of_more_cells_than_are_held_in_memory_is_refused(check, rows) -> None:
    columns = 20
    assert MAX_WORKBOOK_CELLS // columns < 2**20
    last = MAX_WORKBOOK_CELLS // columns + 1
    sheet = sheet_data(GOOD).replace("</sheetData>", f'<row r="{last}"><c r="T{last}"><v>1</v></c></row></sheetData>')
    assert check(workbook({"A": sheet}), rows(20)).errors == ["invalid_workbook"]


def test_without_calamine_the_error_says_what_is_missing(check, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert check(workbook({"Data": GOOD})).errors == ["workbook_needs_job"]


def test_what_reads_workbooks_is_pinned_for_the_job_and_not_in_the_function_app() -> None:
    job, app, pins = (
        (ROOT / name).read_text().splitlines()
        for name in ("training_job/requirements.in", "requirements.txt", "constraints.txt")
    )
    assert ("python-calamine" in job, any("calamine" in line for line in app)) == (True, False)
    assert [line.partition("==")[0] for line in pins if "calamine" in line] == ["python-calamine"]


ABOVE = {
    "a title": [["Tickets of 2026"]],
    "a title and notes": [["Tickets of 2026"], ["as of", date(2026, 11, 1)], []],
    "groups of columns": [["Customer", "Agent"]],
}


@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_a_header_below_a_title_is_found_and_the_report_says_where(check, rows, above) -> None:
    checked = check(workbook({"Data": [*above, *GOOD]}), rows(20, start=1000), file_name="data.xlsx")
    assert checked.codes == {"lines_above_header": (len(above) + 1,)}
    assert checked.result.version == check(LINES, rows(20, start=1000)).result.version


def test_without_a_known_header_the_first_row_names_the_columns(check) -> None:
    checked = check(workbook({"Data": [["Tickets"], ["frage", "antwort"], *PAIRS]}), file_name="data.xlsx")
    assert list(checked.codes) == ["unknown_format"]


def test_a_header_in_the_middle_is_named_and_not_read_and_a_row_of_blanks_is_none(check, rows) -> None:
    pieces: list[list[Any]] = [["A title", None], HEADER, *PAIRS[:30], HEADER, [" ", "  "], *PAIRS[30:], HEADER]
    checked = check(workbook({"Data": pieces}), rows(20, start=1000))
    assert checked.errors == []
    assert checked.codes["header_repeated"] == (33, 65)
    assert checked.result.report.statistics.train_rows == 60


CODES = [
    ("00000", 450, "00450"),
    ("00000", 1234567, "1234567"),
    ("00000;-00000", 7, "00007"),
    ("[$-407]00000", 450, "00450"),
    ("000-00-0000", 12345678, "012-34-5678"),
    ("00 00 00", 123456789, "12345 67 89"),
    ('"PN-"0000', 45, "PN-0045"),
    (r"\P\N0000", 45, "PN0045"),
    ("00000", 4.5, "4.5"),
    ("00000", -45, "-45"),
    ("00000", "A45", "A45"),
    ("0", 450, "450"),
    ("0.00", 450, "450"),
    ("#,##0", 450000, "450000"),
    ('0 "bar"', 450, "450"),
]


def test_numbers_of_a_format_that_writes_their_zeros_keep_them(check) -> None:
    formats = "".join(
        f'<numFmt numFmtId="{number}" formatCode={quoteattr(code)}/>' for number, (code, *_) in enumerate(CODES, 170)
    )
    cells = [
        f'<c s="{style}"' + (f' t="str"><v>{value}</v></c>' if isinstance(value, str) else f"><v>{value}</v></c>")
        for style, (_, value, _) in enumerate(CODES, 1)
    ]
    xfs = "".join(f'<xf numFmtId="{number}"/>' for number in (0, *range(170, 170 + len(CODES))))
    xml = (
        f"<styleSheet><numFmts>{formats}</numFmts><cellStyleXfs><xf/><xf/></cellStyleXfs><cellXfs>{xfs}</cellXfs>"
        "<cellStyles><cellStyle/></cellStyles></styleSheet>"
    )
    sheet = [[None, "prompt", "completion"], *([None, f"Which part is number {n}?", c] for n, c in enumerate(cells))]
    checked = check(workbook({"Data": sheet}, xl__styles=xml), file_name="data.xlsx")
    written = [json.loads(line) for line in (checked.train + checked.eval).splitlines()]
    answers = {int(row["messages"][0]["content"][21:-1]): row["messages"][1]["content"] for row in written}
    assert answers == {number: text for number, (*_, text) in enumerate(CODES)}
