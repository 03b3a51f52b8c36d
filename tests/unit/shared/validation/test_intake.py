"""Which container and which format a file has, and what is said of one that is not known."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(60)]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def renamed(**names: str) -> list[dict[str, Any]]:
    """The pairs with other names, in the order given."""
    return [{name: row[known] for name, known in names.items()} for row in PAIRS]


CONTAINERS = {
    "JSON Lines": json_lines(PAIRS),
    "an array on one line": json.dumps(PAIRS).encode(),
    "a pretty array": json.dumps(PAIRS, indent=2).encode(),
    "an array with a row a line": b"[\n" + b",\n".join(json.dumps(row).encode() for row in PAIRS) + b"\n]\n",
    "pretty objects": b"\n".join(json.dumps(row, indent=2).encode() for row in PAIRS),
    "an array behind a mark": b"\xef\xbb\xbf" + json.dumps(PAIRS).encode(),
    "a packed array": gzip.compress(json.dumps(PAIRS).encode()),
    "an array, CRLF": json.dumps(PAIRS, indent=2).replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("name", ["train.json", "train.jsonl", "TRAIN.JSON", "train.ndjson", "train.txt", "data"])
@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS)
def test_json_is_read_by_its_content_with_the_same_version_whatever_its_name(check, rows, data, name) -> None:
    expected = check(json_lines(PAIRS), rows(20, start=100)).result.version
    checked = check(data, rows(20, start=100), file_name=name)
    assert (checked.errors, checked.result.version) == ([], expected)


def test_a_bad_row_of_an_array_is_reported_by_its_number_and_offset(check, rows) -> None:
    data = json.dumps([*PAIRS[:30], {"prompt": "x"}, *PAIRS[30:]], indent=1).encode()
    (problem,) = check(data, rows(20, start=100)).result.report.problems
    assert (problem.code, problem.rows) == ("missing_field", (31,))
    assert data[problem.offsets[0] :].startswith(b'{\n  "prompt": "x"\n }')
    assert problem.message == "The row lacks completion, which its format needs."


UNKNOWN = {
    "JSON Lines": (json_lines(renamed(frage="prompt", antwort="completion")), "frage, antwort"),
    "an array": (json.dumps(renamed(frage="prompt", antwort="completion")).encode(), "frage, antwort"),
    "a table": (b"Frage;Antwort\n" + b"".join(b"f %d;a %d\n" % (n, n) for n in range(60)), "Frage, Antwort"),
    "Gemini": (json_lines([{"contents": [{"parts": [{"text": "x"}]}]}] * 60), "contents"),
    "seed tasks": (json_lines([{"id": n, "name": "x", "instances": []} for n in range(60)]), "id, name, instances"),
    "a wrapped list": (json.dumps({"version": 1, "data": PAIRS}, indent=1).encode(), "version, data"),
    "a table without a header": (
        b"".join(b"What is part number %d?,It is bolt number %d.\n" % (n, n) for n in range(60)),
        "fields whose names are not shown",
    ),
}


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl"])
@pytest.mark.parametrize(("data", "fields"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_format_is_one_finding_with_the_fields_found_and_the_formats_known(
    check, data, fields, name
) -> None:
    checked = check(data, file_name=name)
    (problem,) = checked.result.report.problems
    assert (problem.code, problem.count) == ("unknown_format", 1)
    assert problem.message.endswith(f"the fields found are {fields}.")
    assert "data.columns" in problem.fix
    assert "conversations" in problem.fix


COLUMNS = {
    "two columns": (renamed(frage="prompt", antwort="completion"), "{frage: user, antwort: assistant}"),
    "names of another format, the other way round": (
        renamed(answer="prompt", question="completion"),
        "{answer: user, question: assistant}",
    ),
    "beside a field that has such a name": (
        [{**row, "text": "x"} for row in renamed(frage="prompt", antwort="completion")],
        "{frage: user, antwort: assistant}",
    ),
    "messages": (
        [
            {
                "dialog": [
                    {"role": "user", "content": row["prompt"]},
                    {"role": "assistant", "content": row["completion"]},
                ]
            }
            for row in PAIRS
        ],
        "{dialog: messages}",
    ),
}


@pytest.mark.parametrize(("data", "columns"), COLUMNS.values(), ids=COLUMNS)
def test_the_recipe_says_what_the_fields_are(check, rows, data, columns) -> None:
    checked = check(json_lines(data), rows(20, start=100), f"data: {{columns: {columns}}}".encode())
    assert checked.errors == []
    said = json.loads(checked.train.splitlines()[5])["messages"]
    assert [message["content"] for message in said] == ["question 5", "answer 5"]


def test_a_system_column_beside_messages_is_read_though_the_messages_are_plain(check, rows) -> None:
    data = [
        {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": f"a {n}"}], "rule": "R"}
        for n in range(60)
    ]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {rule: system}}")
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["messages"][0] == {"role": "system", "content": "R"}
    assert checked.result.report.mapping["rule"] == "system"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"frage": "x", "antwort": 1}, "A part of the row has the wrong type: antwort is a number, not text."),
        ({"frage": "x"}, "The row lacks antwort, which its format needs."),
    ],
)
def test_a_field_is_called_in_errors_as_in_the_file(check, rows, row, message) -> None:
    data = [*renamed(frage="prompt", antwort="completion"), row]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {frage: user, antwort: assistant}}")
    assert [one.message for one in checked.result.report.problems] == [message]


def test_a_column_that_no_row_has_is_one_finding(check) -> None:
    checked = check(json_lines(PAIRS), None, b"data: {columns: {frage: user}}")
    (problem,) = checked.result.report.problems
    assert problem.code == "column_missing"
    assert problem.message == "data.columns names frage; the fields found are prompt, completion."


def test_a_column_that_is_given_a_name_that_is_taken_is_refused(check, rows) -> None:
    data = [{**row, "frage": "x"} for row in PAIRS]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {frage: user}}")
    assert checked.errors == ["column_taken"]
    (problem,) = [one for one in checked.result.report.problems if one.severity == "error"]
    assert problem.message.endswith("already: prompt.")


@pytest.mark.parametrize("names", [("Prompt", "Completion"), ("PROMPT", "Response"), (" question ", "Answer")])
def test_known_names_are_known_in_any_case(check, rows, names) -> None:
    data = renamed(**dict(zip(names, ("prompt", "completion"), strict=True)))
    checked = check(json_lines(data), rows(20, start=100))
    assert checked.errors == []
    assert list(checked.result.report.mapping) == list(names)


NO_TEXT = {
    "UTF-16": ("x".encode("utf-16"), "text in UTF-16"),
    "a picture": (b"\x89PNG\r\n", "an image"),
    "packed twice": (gzip.compress(gzip.compress(b"x")), "compressed twice"),
}


@pytest.mark.parametrize(("data", "what"), NO_TEXT.values(), ids=NO_TEXT)
def test_a_file_that_is_no_text_is_one_finding_that_says_what_it_is(check, data, what) -> None:
    (problem,) = check(data).result.report.problems
    assert (problem.code, problem.message) == ("not_utf8", f"The file is not UTF-8 text: it is {what}.")


def test_prose_is_one_finding(check) -> None:
    checked = check(
        b"The press stands in hall 3.\nIt runs, mostly, at night.\nTurn it off.\n" * 50, file_name="notes.txt"
    )
    assert list(checked.codes) == ["no_rows"]


def test_a_table_in_markdown_is_no_table(check) -> None:
    table = b"| prompt | completion |\n|---|---|\n" + b"".join(b"| q %d | a %d |\n" % (n, n) for n in range(60))
    assert list(check(table).codes) == ["no_rows"]
    assert list(check(table, file_name="train.csv").codes) == ["unknown_format"]
