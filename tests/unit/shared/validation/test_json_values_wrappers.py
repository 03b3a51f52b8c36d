"""One object around the rows, as exports of APIs are: the rows are read, and what is beside them is named."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.intake import open_rows

ROWS: list[dict[str, Any]] = [{"prompt": f'question {n} {{"[', "completion": f"answer {n} \\\\"} for n in range(60)]
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
CHATS = [{"messages": TURNS, "n": n} for n in range(60)]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]

WRAPPED: dict[str, tuple[dict[str, Any], str]] = {
    **{name: ({name: ROWS}, "") for name in ("data", "rows", "tickets", "records", "issues", "result", "value")},
    "conversations": ({"conversations": CHATS}, ""),
    "conversations of conversations": ({"conversations": [{"conversations": SHAREGPT}] * 60}, ""),
    "examples of ShareGPT": ({"examples": [{"conversations": SHAREGPT}] * 60}, ""),
    "messages of rows": ({"messages": ROWS}, ""),
    "Zendesk": ({"tickets": ROWS, "next_page": None, "count": 60}, "tickets; not read: count"),
    "Jira": (
        {"expand": "names", "startAt": 0, "total": 60, "issues": ROWS},
        "issues; not read: expand, startAt, total",
    ),
    "OData 2 of SAP": ({"d": {"__count": "60", "results": ROWS}}, "d.results; not read: d.__count"),
    "OData 4": ({"@odata.context": "x", "value": ROWS}, "value; not read: fields whose names are not shown"),
    "GraphQL": (
        {"data": {"tickets": {"pageInfo": {"hasNextPage": False}, "nodes": ROWS}}},
        "data.tickets.nodes; not read: data.tickets.pageInfo",
    ),
    "Elasticsearch": ({"took": 3, "hits": {"total": 60, "hits": ROWS}}, "hits.hits; not read: took, hits.total"),
    "a table schema of pandas": (
        {"schema": {"fields": [{"name": "prompt"}], "primaryKey": ["index"]}, "data": ROWS},
        "data; not read: schema",
    ),
    "a list of columns before": ({"columns": [{"name": "x"}] * 5, "rows": ROWS}, "rows; not read: columns"),
    "a list of names behind": ({"data": ROWS, "columns": ["prompt", "completion"]}, "data; not read: columns"),
    "both splits, the held-out one larger": (
        {"test": ROWS * 2, "train": ROWS},
        "train; not read: test",
    ),
    "a text that names lists": ({"note": 'x "data": [{"a": 1}]', "data": ROWS}, "data; not read: note"),
    "nothing beside": ({"errors": [], "warnings": None, "cursor": "", "meta": {}, "data": ROWS}, ""),
}


def read(data: bytes, size: int = 10**9) -> tuple[list[Any], list[tuple[Any, ...]]]:
    """The rows of a file that comes in chunks of this size, and what is noted of it."""
    notes: list[tuple[Any, ...]] = []
    intake = open_rows(
        (data[at : at + size] for at in range(0, len(data), size)), note=lambda *note: notes.append(note)
    )
    rows = [(line, offset) for _, offset, line in intake.lines]
    assert intake.container == "json"
    assert all(isinstance(line, bytes) and data[at:].startswith(line) for line, at in rows)
    return [json.loads(line) for line, _ in rows if isinstance(line, bytes)], notes


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("indent", [None, 1], ids=["on one line", "pretty"])
@pytest.mark.parametrize(("document", "note_text"), WRAPPED.values(), ids=WRAPPED)
def test_the_rows_in_an_object_are_read_and_what_is_beside_them_is_named(document, note_text, indent) -> None:
    data = json.dumps(document, indent=indent).encode()
    rows, notes = read(data)
    assert rows == read(data, 1000)[0] == read(b"\xef\xbb\xbf\n" + data + b"\r\n")[0]
    assert len(rows) == 60
    assert rows[7] in (ROWS[7], CHATS[7], {"conversations": SHAREGPT})
    assert [note[-1] for note in notes] == ([note_text] if note_text else [])


def test_so_they_are_with_one_row_a_line_and_in_an_archive() -> None:
    lines = ",\n".join(map(json.dumps, ROWS))
    for data in (f'{{"data": [\n{lines}\n]}}', f'{{"count": 60,\n"data": [{lines}]\n}}\n'):
        assert read(data.encode())[0] == ROWS
    assert open_rows([gzip.compress(json.dumps({"data": ROWS}).encode())]).container == "json"


SINGLE: dict[str, Any] = {
    "messages": {"messages": TURNS},
    "ShareGPT": {"conversations": SHAREGPT},
    "messages with texts": {"messages": [{"role": "user", "content": "q", "text": "t"}], "id": 3},
    "a pair with a list beside it": {"prompt": "q", "completion": "a", "sources": [{"url": "x"}]},
    "a preference pair": {"prompt": "q", "chosen": TURNS[1:], "rejected": [{"role": "assistant", "content": "b"}]},
}


@pytest.mark.parametrize("indent", [None, 1], ids=["on one line", "pretty"])
@pytest.mark.parametrize("row", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("count", [1, 2, 60])
def test_a_row_with_a_list_in_it_is_a_row(row, indent, count) -> None:
    data = b"\n".join([json.dumps(row, indent=indent).encode()] * count)
    lines = [line for _, _, line in open_rows([data]).lines if isinstance(line, bytes)]
    assert [json.loads(line) for line in lines] == [row] * count


def test_a_list_of_rows_that_the_recipe_names_is_read(check, rows) -> None:
    document = {"count": 60, "issues": [{"frage": f"q {n}", "antwort": f"a {n}"} for n in range(60)]}
    recipe = b"data: {columns: {frage: user, antwort: assistant}}"
    checked = check(json.dumps(document).encode(), rows(20, start=1000), recipe)
    assert checked.errors == []
    assert checked.codes == {"wrapper_fields_unread": ()}
    assert checked.result.report.statistics.train_rows == 60


@pytest.mark.parametrize("name", ["system", "system_prompt", "tools"])
def test_what_all_rows_should_read_and_stands_beside_them_is_refused(check, rows, name) -> None:
    data = json.dumps({name: "Be brief.", "data": ROWS}).encode()
    checked = check(data, rows(20, start=1000))
    assert checked.errors == ["passage_not_read"]
    assert check(json.dumps({name: None, "data": ROWS}).encode(), rows(20, start=1000)).codes == {}


CUT = {
    "in a row": json.dumps({"data": ROWS})[:-30],
    "between rows": json.dumps({"data": ROWS}).rpartition(",")[0].rpartition("},")[0] + "},",
    "pretty": json.dumps({"count": 1, "data": ROWS}, indent=1)[:-30],
}


@pytest.mark.parametrize("text", CUT.values(), ids=CUT)
def test_a_wrapper_that_is_cut_off_is_one_finding(check, text) -> None:
    assert list(check(text.encode()).codes) == ["json_array_cut"]


OTHER = {
    "a page on each line": (b'{"data": [{"prompt": "x"}]}\n' * 60, "unknown_format"),
    "lists of lists": (
        json.dumps({"columns": ["prompt", "completion"], "data": [["q", "a"]] * 60}),
        "table_by_columns",
    ),
    "rows of no known format": (json.dumps({"issues": [{"key": "A-1", "fields": {}}] * 60}), "unknown_format"),
    "an object in which a bracket is missing": ('{"data": {"rows": [{"a": 1}], \n', "invalid_json"),
}


@pytest.mark.parametrize(("data", "code"), OTHER.values(), ids=OTHER)
def test_what_is_no_wrapper_of_rows_is_answered_as_before(check, data, code) -> None:
    checked = check(data if isinstance(data, bytes) else data.encode())
    assert checked.errors[0] == code


def test_the_first_row_of_json_lines_may_be_broken(check, rows) -> None:
    for line in (b'{"prompt": "x', b'{"prompt": {"a": 1', b'{"messages": [{"role": "user"}'):
        assert check(line + b"\n" + rows(60), rows(20, start=1000)).codes["invalid_json"] == (1,)


def test_a_wrapper_that_is_larger_than_a_row_may_be_is_streamed() -> None:
    chance = random.Random(3)
    rows = [{"prompt": chance.randbytes(30_000).hex(), "completion": str(n)} for n in range(200)]
    data = json.dumps({"count": 200, "data": rows}).encode()
    assert len(data) > 2 * MAX_ROW_BYTES
    assert read(data, 65_536)[0] == rows
