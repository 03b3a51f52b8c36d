"""One bad row among sixty good ones: the code and the line number it is reported with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.validation.rows import read_row

USER = {"role": "user", "content": "Which part?"}
ANSWER = {"role": "assistant", "content": "a bolt"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"code": 7}'}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def chat(*messages, **extra):
    return {"messages": list(messages), **extra}


BAD_ROWS = {
    "a JSON list": ([1, 2], "data_type"),
    "a number": (7, "data_type"),
    "no messages": ({"prompt": "x"}, "missing_messages_list"),
    "empty messages": (chat(), "missing_messages_list"),
    "messages as text": ({"messages": "hello"}, "data_type"),
    "a message that is text": (chat("hello", ANSWER), "data_type"),
    "no role": (chat({"content": "x"}, ANSWER), "message_missing_key"),
    "a role that is a number": (chat({"role": 1, "content": "x"}, ANSWER), "data_type"),
    "an unknown role": (chat({"role": "narrator", "content": "x"}, ANSWER), "unrecognized_role"),
    "no content": (chat({"role": "user"}, ANSWER), "missing_content"),
    "empty content": (chat({"role": "user", "content": ""}, ANSWER), "missing_content"),
    "a blank answer": (chat(USER, {"role": "assistant", "content": " \n "}), "missing_content"),
    "an answer of no width": (chat(USER, {"role": "assistant", "content": "\u200b\ufeff"}), "missing_content"),
    "a blank question": (chat({"role": "user", "content": "\u00a0"}, ANSWER, more=1), "missing_content"),
    "null content": (chat(USER, {"role": "assistant", "content": None}), "missing_content"),
    "content in parts": (chat({"role": "user", "content": [{"type": "text"}]}, ANSWER), "content_not_text"),
    "content as a number": (chat({"role": "user", "content": 5}, ANSWER), "data_type"),
    "no answer": (chat(USER), "example_missing_assistant_message"),
    "a question last": (chat(USER, ANSWER, USER), "example_missing_assistant_message"),
    "an answer alone": (chat(ANSWER), "no_question"),
    "answers alone, with a field": (chat(ANSWER, ANSWER, note="x"), "no_question"),
    "weight 0 everywhere": (chat(USER, {**ANSWER, "weight": 0}), "no_trainable_message"),
    "weight 2": (chat(USER, {**ANSWER, "weight": 2}), "invalid_weight"),
    "weight true": (chat(USER, {**ANSWER, "weight": True}), "invalid_weight"),
    "tool_calls as text": (chat(USER, {"role": "assistant", "tool_calls": "find"}), "invalid_tool_calls"),
    "tools as an object": (chat(USER, ANSWER, tools={}), "invalid_tools"),
    "a tool without a name": (chat(USER, ANSWER, tools=[{"type": "function"}]), "invalid_tools"),
    "a tool answer without its call": (
        chat(USER, {"role": "tool", "content": "7"}, ANSWER),
        "message_missing_key",
    ),
    "a preference pair": (
        {"input": chat(USER), "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
        "mixed_formats",
    ),
    "a reinforcement prompt": (chat(USER, target=85), "mixed_formats"),
    "a NUL in the text": (chat({"role": "user", "content": "a\0b"}, ANSWER), "null_character"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("bad", "code"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_reported_by_code_and_line_and_nothing_else_is(check, rows, bad, code) -> None:
    checked = check(rows(60, bad))
    assert checked.codes == {code: (61,)}
    assert not checked.result.report.passed
    assert checked.result.version is None


BAD_LINES = {
    "half a row": (b'{"messages": [', "invalid_json"),
    "NaN": (b'{"messages": NaN}', "invalid_json"),
    "half a surrogate pair": (rb'{"messages": "\ud800"}', "invalid_json"),
    "Latin-1": (b'{"messages": "caf\xe9"}', "invalid_utf8"),
    "a raw NUL": (b'{"messages": "\0"}', "null_character"),
    "a key twice": (b'{"messages": [], "a": 1, "a": 2}', "duplicate_key"),
    "a key twice, spelled apart": (rb'{"messages": [], "a": 1, "\u0061": 2}', "duplicate_key"),
    "a key twice with a blank before the colon": (b'{"messages": [], "a" :1, "a":2}', "duplicate_key"),
    "a key twice beside text that looks like one": (
        rb'{"messages": [], "a": "\u0022:", "a": "\u0022:", "b": 1}',
        "duplicate_key",
    ),
    "a key twice far inside": (b'{"messages": [{"role": "user", "role": "user"}]}', "duplicate_key"),
}


@pytest.mark.parametrize(("bad", "code"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_line_that_is_no_row_is_reported_by_code_and_line(check, rows, bad, code) -> None:
    assert check(rows(60, bad)).codes == {code: (61,)}


def test_text_that_looks_like_keys_or_escapes_is_only_text() -> None:
    text = 'a": b" : "c":\\u0000 \\\\u0022 : \t:'
    row, codes = read_row(json.dumps(chat(USER, {"role": "assistant", "content": text})).encode())
    assert not codes
    assert row is not None
    assert json.loads(row.canonical)["messages"][1]["content"] == text


def canonical(**extra) -> Any:
    messages = extra.pop("messages", [USER, ANSWER])
    row, _ = read_row(json.dumps({**extra, "messages": messages}).encode())
    assert row is not None
    return json.loads(row.canonical)


def test_the_canonical_row_has_messages_and_item_and_tools_only_where_there_are_some() -> None:
    assert canonical() == {"messages": [USER, ANSWER], "item": {}}
    assert canonical(tools=[]) == {"messages": [USER, ANSWER], "item": {}}
    assert canonical(tools=[TOOL], fault="pump", parallel_tool_calls=False) == {
        "messages": [USER, ANSWER],
        "tools": [TOOL],
        "item": {"fault": "pump", "parallel_tool_calls": False},
    }


def test_a_developer_is_kept_as_system_and_weight_only_where_it_is_0() -> None:
    messages = [
        {"content": "Be brief.", "role": "developer"},
        USER,
        {**ANSWER, "weight": 0},
        USER,
        {**ANSWER, "weight": 1},
    ]
    assert canonical(messages=messages)["messages"] == [
        {"role": "system", "content": "Be brief."},
        USER,
        {**ANSWER, "weight": 0},
        USER,
        ANSWER,
    ]


def test_a_call_without_content_gets_an_empty_one_and_a_tool_may_answer_nothing() -> None:
    call = {"role": "assistant", "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": ""}
    written = canonical(messages=[USER, call, result, ANSWER], tools=[TOOL])["messages"]
    assert written == [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, result, ANSWER]


def test_a_key_nobody_reads_is_a_warning_and_left_out(check, rows) -> None:
    odd = chat({**USER, "mood": "good", "weight": 1}, ANSWER)
    checked = check(rows(60, odd), rows(20, start=100))
    assert checked.codes == {"ignored_field": (61,)}
    named = {problem.message.split(":")[0] for problem in checked.result.report.problems}
    assert named == {
        "Nothing reads messages[].mood",
        "Nothing reads weight of a message that is not the assistant's",
    }
    assert b"mood" not in checked.train
    assert checked.result.report.passed


@pytest.mark.parametrize("extra", [{}, {"tools": [TOOL]}])
def test_a_system_message_that_asks_alone_is_a_warning(extra) -> None:
    system = {"role": "system", "content": "Name a bolt."}
    for messages, codes in (((system, ANSWER), {"no_user_message"}), ((system, USER, ANSWER), set())):
        row, found = read_row(json.dumps(chat(*messages, **extra)).encode())
        assert row is not None
        assert set(found) == codes
    greeted = read_row(json.dumps(chat(ANSWER, USER, ANSWER)).encode())
    assert (greeted[0] is not None, set(greeted[1])) == (True, set())


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**70])
def test_a_number_beyond_64_bits_in_a_field_is_refused(number) -> None:
    line = json.dumps({"messages": [{"role": "assistant", "content": "c"}], "size": number}).encode()
    row, codes = read_row(line)
    assert (row, set(codes)) == (None, {"number_out_of_range"})


@pytest.mark.parametrize("empty", [None, "", " \n", "\u200b"])
@pytest.mark.parametrize("field", ["prompt", "completion"])
def test_an_empty_field_is_named_as_it_is_in_the_file(check, field: str, empty: str | None) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"Why {n}?", "completion": f"So {n}.", "notes": "" if n else 0} for n in range(60)
    ]
    rows[7][field] = empty
    (found,) = [one for one in check(as_lines(rows)).result.report.problems if one.severity == "error"]
    assert (found.code, found.rows, found.parts) == ("missing_content", (8,), (field,))
    assert "where the row has no messages, the row" in found.fix


def test_the_empty_cell_of_a_table_is_to_be_filled_or_its_row_deleted(check) -> None:
    text = "question,answer\n" + "".join(f"Why {n}?,{'' if n == 7 else n}\n" for n in range(60))
    (found,) = [one for one in check(text.encode()).result.report.problems if one.severity == "error"]
    assert (found.code, found.rows) == ("missing_field", (9,))
    assert found.fix.startswith("Add the field (in a table, fill the cell), or delete the row.")


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)
