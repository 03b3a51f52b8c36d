"""CSV as Excel, pandas and people write it: each record is a row or refused, and none hides the others."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.validation.lines import RefusedLine, split_lines
from shared.validation.tables import Dialect, read_table


def numbered(count: int, line: str = "question {n},answer {n}") -> str:
    return "\n".join(line.format(n=n) for n in range(count))


def rows_of(text: str | bytes, delimiter: str = ",") -> list[tuple[int, dict[str, str] | str]]:
    data = text if isinstance(text, bytes) else text.encode()
    lines = read_table(split_lines(iter([data])), Dialect(delimiter), lambda *_: None)
    return [
        (number, line.code if isinstance(line, RefusedLine) else json.loads(line))
        for number, _, line in lines
        if isinstance(line, RefusedLine) or line.strip()
    ]


EXPORTS = {
    "an index column of pandas": ",prompt,completion\n" + numbered(60, "{n},question {n},answer {n}"),
    "a trailing empty column": "prompt,completion,\n" + numbered(60, "question {n},answer {n},"),
    "a trailing separator of rows only": "prompt,completion\n" + numbered(60, "question {n},answer {n},"),
    "a first line that names the separator": "sep=;\nprompt;completion\n" + numbered(60, "question {n};answer {n}"),
    "a bar": "prompt|completion\n" + numbered(60, "question {n}|answer {n}"),
    "blanks before quotation marks": '"prompt", "completion"\n' + numbered(60, '"question {n}", "answer {n}"'),
    "capital letters": "Prompt,Completion\n" + numbered(60),
    "blanks around the names": " prompt , completion \n" + numbered(60),
    "a mark": "\ufeffprompt;completion\n" + numbered(60, "question {n};answer {n}"),
    "tabs": "prompt\tcompletion\n" + numbered(60, "question {n}\tanswer {n}"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", ["train.csv", "TRAIN.CSV", "train.tsv", "train.txt", "train"])
@pytest.mark.parametrize("text", EXPORTS.values(), ids=EXPORTS)
def test_a_table_is_read_as_programs_export_it_whatever_its_name(check, rows, text, name) -> None:
    checked = check(text.encode(), rows(20, start=100), file_name=name)
    assert checked.errors == []
    assert (checked.result.report.container, checked.result.report.statistics.train_rows) == ("csv", 60)
    messages = json.loads(checked.train.splitlines()[7])["messages"]
    assert [message["content"] for message in messages] == ["question 7", "answer 7"]


def test_a_column_without_a_name_is_named_by_its_number_and_reported(check, rows) -> None:
    report = check(EXPORTS["an index column of pandas"].encode(), rows(20, start=100)).result.report
    ignored = [one for one in report.problems if one.code == "ignored_field"]
    assert [("column_1" in one.message, one.count) for one in ignored] == [(True, 60)]


def test_a_record_that_is_no_utf_8_in_a_table_that_is_stays_an_error() -> None:
    table = "prompt,completion\nGröße,a\n".encode() + b"caf\xe9,b\nx,y"
    assert [row for _, row in rows_of(table)][1:] == ["invalid_utf8", {"prompt": "x", "completion": "y"}]


@pytest.mark.parametrize("odd", [(8,), (8, 21), (3, 4, 5), (59,), (0, 59), tuple(range(0, 60, 2))])
@pytest.mark.parametrize("cell", ['The 5" pipe {n} fits', '"The 5 pipe {n} fits', '5" x 6" x 7"'])
@pytest.mark.parametrize("others", ["question {n},answer {n}", '"question\n{n}","answer, {n}"'])
def test_an_odd_quotation_mark_costs_its_own_record_at_most(odd, cell, others) -> None:
    lines = [cell.format(n=n) + f",answer {n}" if n in odd else others.format(n=n) for n in range(60)]
    found = [row for _, row in rows_of("prompt,completion\n" + "\n".join(lines))]
    right = [row for row in found if isinstance(row, dict)]
    expected = 60 if not cell.startswith('"') else 60 - len(odd)
    assert sum(row["prompt"].replace("\n", " ").startswith(("question", "The", "5")) for row in right) >= expected - 1
    assert [row for row in found if isinstance(row, str) and row != "invalid_csv"] == []


TEXT = st.text(st.sampled_from('ab,";\n é|'), max_size=8)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_what_the_csv_module_writes_is_read_back(pairs, delimiter) -> None:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("prompt", "completion"), *pairs])
    expected = [
        {name: cell for name, cell in zip(("prompt", "completion"), pair, strict=True) if cell}
        for pair in pairs
        if any(cell.strip(" \t\r\n") for cell in pair)
    ]
    assert [row for _, row in rows_of(written.getvalue(), delimiter)] == expected


@pytest.mark.parametrize("line", ['a","b', '"a', 'a,"""', '"",""x"'])
def test_a_table_of_nothing_but_odd_quotation_marks_takes_no_more_than_a_few_readings(line) -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        rows_of("prompt,completion\n" + f"{line}\n" * count)
        return time.process_time() - started

    seconds(1000)
    assert seconds(16_000) < 40 * max(seconds(2_000), 0.01)  # a square of it would be 64 times


TITLED = {
    "a title": "Export of tickets 2026\nprompt,completion\n",
    "a title in a cell of a table": "Export of tickets,\nprompt,completion\n",
    "a title, notes and a blank line": "Tickets\nas of 1 November, all halls\n\nprompt,completion\n",
    "a first line that names the separator": "sep=,\nTickets,\nprompt,completion\n",
    "groups of columns": "Customer,Agent\nprompt,completion\n",
}


@pytest.mark.parametrize("head", TITLED.values(), ids=TITLED)
@pytest.mark.parametrize("name", ["train.csv", "train.txt"])
def test_a_header_below_a_title_is_found_and_the_report_says_where(check, rows, head, name) -> None:
    data = (head + numbered(60)).encode()
    checked = check(data, rows(20, start=1000), file_name=name)
    row = head.count("\n")
    assert checked.codes == {"lines_above_header": (row,)}
    assert f"stand in row {row};" in checked.result.report.problems[0].message
    assert checked.result.report.statistics.train_rows == 60


def test_a_header_below_a_title_is_found_by_the_names_of_the_recipe(check, rows) -> None:
    data = ("Tickets,\nfrage,antwort\n" + numbered(60)).encode()
    checked = check(
        data, rows(20, start=1000), b"data: {columns: {frage: user, antwort: assistant}}", file_name="t.csv"
    )
    assert checked.codes == {"lines_above_header": (2,)}


def test_a_first_row_that_names_the_columns_is_the_header_whatever_rows_below_it_say(check, rows) -> None:
    data = ("prompt,completion\n" + numbered(60) + "\nquestion,answer\n").encode()
    checked = check(data, rows(20, start=1000), file_name="train.csv")
    assert checked.codes == {}
    assert checked.result.report.statistics.train_rows == 61


def test_columns_that_come_again_are_numbered_unless_a_format_knows_them(check, rows) -> None:
    data = "Summary,Comment,Comment,Comment\n" + numbered(60, "question {n},answer {n},more {n},")
    recipe = b"data: {columns: {Summary: user, Comment: assistant}}"
    checked = check(data.encode(), rows(20, start=1000), recipe, file_name="jira.csv")
    assert checked.errors == []
    assert [one.message.split()[2] for one in checked.result.report.problems] == ["Comment_2:"]
    assert check(b"prompt,completion,Prompt,prompt\n" + b"a,b,c,d\n" * 60, file_name="x.csv").errors == ["csv_header"]


SEPARATORS = {
    "separators only": ("prompt,completion", ",", ","),
    "more than there are columns": ("prompt,completion", ",", ",,,,"),
    "blanks between": ("prompt;completion", ";", " ; "),
    "cells in quotation marks": ("prompt;completion", ";", '"";""'),
    "tabs": ("prompt\tcompletion", "\t", "\t\t"),
}


@pytest.mark.parametrize(("header", "delimiter", "line"), SEPARATORS.values(), ids=SEPARATORS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_record_without_a_value_is_a_blank_line(check, rows, header, delimiter, line, end) -> None:
    pairs = numbered(60, f"question {{n}}{delimiter}answer {{n}}").split("\n")
    text = end.join([header, *pairs[:3], line, *pairs[3:], line, line])
    checked = check(text.encode(), rows(20, start=100), file_name="train.csv")
    assert checked.codes == {"blank_line": (5, 63, 64)}
    assert checked.result.report.statistics.train_rows == 60


def test_lines_of_separators_above_the_header_are_no_text(check, rows) -> None:
    checked = check(("," + "\nprompt,completion\n" + numbered(60)).encode(), rows(20, start=100))
    assert checked.errors == []
    assert "lines_above_header" not in checked.codes


REPEATED = {
    "the same line": ("prompt,completion", "prompt,completion"),
    "with a mark": ("\ufeffprompt,completion", "\ufeffprompt,completion"),
    "in quotation marks": ("prompt,completion", '"prompt","completion"'),
    "with a mark and quotation marks": ("prompt,completion", '\ufeff"prompt","completion"'),
    "with blanks": (" prompt , completion ", "prompt,completion"),
    "with a column without a name": ("prompt,completion,", "prompt,completion,"),
}


@pytest.mark.parametrize(("header", "again"), REPEATED.values(), ids=REPEATED)
def test_a_header_in_the_middle_is_named_and_not_read(check, rows, header, again) -> None:
    pairs = numbered(60).split("\n")
    checked = check("\n".join([header, *pairs[:30], again, *pairs[30:]]).encode(), rows(20, start=100))
    assert checked.codes == {"header_repeated": (32,)}
    assert checked.result.report.statistics.train_rows == 60


@pytest.mark.parametrize(
    "record", ["prompt,completions", "completion,prompt", "prompt completion,x", '"promptcompletion",y']
)
def test_a_record_that_is_only_like_the_header_is_a_row(check, rows, record) -> None:
    text = f"prompt,completion\n{numbered(60)}\n{record}"
    checked = check(text.encode(), rows(20, start=100))
    assert "header_repeated" not in checked.codes
    assert checked.result.report.statistics.train_rows == 61
