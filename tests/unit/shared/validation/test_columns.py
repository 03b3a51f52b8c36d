"""Parquet and Arrow files as lines of JSON."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.shared.validation.columns_of import PAIRS, pa, parquet, pq


def test_columns_that_json_has_not_are_texts_and_pictures_are_refused(check, rows) -> None:
    dated = [{**row, "at": datetime(2026, 1, 2, tzinfo=UTC), "none": None} for row in PAIRS]
    checked = check(parquet(dated), rows(20, start=1000))
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["item"] == {"at": "2026-01-02T00:00:00+00:00", "none": None}
    pictures = [{**row, "image": {"bytes": b"\x89PNG", "path": None}} for row in PAIRS]
    assert check(parquet(pictures)).errors == ["media_not_read"]


def test_messages_of_columns_have_every_key_and_those_that_are_null_lose_nothing(check, rows) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f"}}
    rows_of_file = [
        {
            "messages": [
                {"role": "user", "content": f"{n}"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
            ],
            "tools": [tool],
        }
        for n in range(60)
    ]
    checked = check(parquet(rows_of_file), rows(20, start=1000))
    assert checked.errors == []
    written = json.loads(checked.train.splitlines()[0])
    assert written["messages"][0] == {"role": "user", "content": "0"}
    assert written["messages"][1]["tool_calls"] == [call]


def test_without_pyarrow_the_error_says_what_is_missing(check, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert check(parquet(PAIRS)).errors == ["columns_need_job"]


BYTES = ("binary", "large_binary", "binary_view")


def in_columns(**columns: Any) -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def test_a_number_of_32_bits_is_the_shortest_that_is_it(check, rows) -> None:
    numbers = pa.array([n / 10 for n in range(60)], pa.float32())
    checked = check(in_columns(prompt=[f"{n}?" for n in range(60)], completion=numbers), rows(20, start=1000))
    answers = [json.loads(line)["messages"][1]["content"] for line in checked.train.splitlines()]
    assert answers == [str(n / 10) for n in range(60)]


@pytest.mark.parametrize("kind", BYTES)
def test_columns_of_bytes_are_learned_as_the_text_that_they_hold(check, rows, kind) -> None:
    texts = {name: [f"{name} {n} für 5 €" for n in range(60)] for name in ("prompt", "completion")}
    columns = {
        name: pa.array([text.encode() for text in column], getattr(pa, kind)()) for name, column in texts.items()
    }
    checked = check(in_columns(**columns), rows(20, start=1000))
    assert checked.codes == {}
    messages = json.loads(checked.train.splitlines()[7])["messages"]
    assert [message["content"] for message in messages] == [texts["prompt"][7], texts["completion"][7]]


@pytest.mark.parametrize("kind", ["list of messages", "map", "dictionary"])
def test_bytes_inside_columns_are_text_too(check, rows, kind) -> None:
    columns: dict[str, Any] = {"prompt": [f"question {n}" for n in range(60)]}
    answers = [f"answer {n}".encode() for n in range(60)]
    columns["completion"] = {
        "list of messages": pa.array([[{"role": b"assistant", "content": answer}] for answer in answers]),
        "map": pa.array([[("a", answer)] for answer in answers], pa.map_(pa.string(), pa.binary())),
        "dictionary": pa.array(answers).dictionary_encode(),
    }[kind]
    checked = check(in_columns(**columns), rows(20, start=1000))
    assert b"bytes" not in checked.train
    assert checked.errors == (["data_type"] if kind == "map" else [])


@pytest.mark.parametrize("field", ["prompt", "completion", "note"])
def test_bytes_that_are_no_text_refuse_their_row_alone(check, rows, field) -> None:
    texts = [{name: f"{name} {n}".encode() for name in ("prompt", "completion", "note")} for n in range(60)]
    texts[6][field] = "größer".encode("latin-1")
    assert check(parquet(texts), rows(20, start=1000)).codes["invalid_utf8"] == (7,)
    every = [{**row, field: b"\xff\xd8"} for row in texts]
    assert check(parquet(every), rows(20, start=1000)).errors == ["invalid_utf8"]


@pytest.mark.parametrize("value", [b"\x89PNG", {"bytes": b"\x89PNG"}, [{"bytes": b"\x89PNG", "path": None}]])
def test_images_of_every_form_are_named_as_such(check, value) -> None:
    assert check(parquet([{**row, "images": value} for row in PAIRS])).errors == ["media_not_read"]


TEXT = pa.array(["x"] * 60)
TWICE = {
    "a column": [("prompt", TEXT), ("completion", TEXT), ("completion", TEXT)],
    "a column that no format knows": [("prompt", TEXT), ("completion", TEXT), ("note", TEXT), ("note", TEXT)],
    "a field of a struct": [("prompt", TEXT), ("completion", pa.StructArray.from_arrays([TEXT, TEXT], ["a", "a"]))],
    "a field below a list": [
        ("prompt", TEXT),
        (
            "messages",
            pa.ListArray.from_arrays(list(range(61)), pa.StructArray.from_arrays([TEXT, TEXT], ["role", "role"])),
        ),
    ],
}


@pytest.mark.parametrize("container", ["Parquet", "Arrow file", "Arrow stream"])
@pytest.mark.parametrize("columns", TWICE.values(), ids=TWICE)
def test_a_name_that_comes_twice_is_refused_as_in_other_tables(check, columns, container) -> None:
    names, arrays = zip(*columns, strict=True)
    table = pa.Table.from_arrays(list(arrays), names=list(names))
    packed = io.BytesIO()
    if container == "Parquet":
        pq.write_table(table, packed)
    else:
        writer = pa.ipc.new_file if container == "Arrow file" else pa.ipc.new_stream
        with writer(packed, table.schema) as file:
            file.write_table(table)
    assert check(packed.getvalue()).errors == ["csv_header"]


def test_the_same_field_in_two_structs_is_no_name_twice(check, rows) -> None:
    both = [{"prompt": [{"role": "user", "content": f"{n}"}], "completion": [ANSWER]} for n in range(60)]
    assert check(parquet(both), rows(20, start=1000)).errors == []


ANSWER = {"role": "assistant", "content": "an answer"}


def _called(n: int, arguments: Any, tool: dict[str, Any]) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return {"messages": messages, "tools": [{"type": "function", "function": {"name": "f", "parameters": tool}}]}


def test_fields_that_only_other_rows_have_are_in_no_call_and_in_no_schema(check, rows) -> None:
    one = {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
    other = {"type": "object", "properties": {"z": {"type": "string", "enum": ["a"]}}, "required": ["z"]}
    both = [_called(n, {"x": 5}, one) if n % 2 else _called(n, {"z": "a"}, other) for n in range(60)]
    checked = check(parquet(both), rows(20, start=1000))
    assert checked.errors == []
    written = [json.loads(line) for line in checked.train.splitlines()]
    assert [row["tools"][0]["function"]["parameters"] for row in written[:2]] == [other, one]
    assert b"null" not in checked.train
