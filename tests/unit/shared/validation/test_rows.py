"""One bad row among sixty good ones: the code and the line number it is reported with."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.validation.formats import CHAT
from shared.validation.rows import _read_any, read_row, read_rows
from tests.examples import examples

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


FIELDS = st.dictionaries(
    st.text(st.sampled_from('ab:"\\\0é'), max_size=3).filter(lambda name: name not in ("tools", "item", "messages")),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.sampled_from('ab:"\\\0é'), max_size=6),
        st.lists(st.integers(0, 3), max_size=2),
    ),
    max_size=4,
)


@given(FIELDS, st.booleans())
def test_rows_with_fields_of_their_own_read_the_same_on_the_short_way_and_the_long_one(fields, twice) -> None:
    messages = [{"role": "user", "content": "a: b"}, {"role": "assistant", "content": "c"}]
    line = json.dumps({"messages": messages, **fields}).encode()
    if twice and fields:
        line = line[:-1] + b"," + json.dumps({next(iter(fields)): 1}).encode()[1:]
    short, long = read_row(line), _read_any(line, orjson.loads(line), CHAT)
    assert (short[0] and short[0].canonical, set(short[1])) == (long[0] and long[0].canonical, set(long[1]))


PLAIN = b'{"messages":[{"role":"user","content":"a: b"},{"role":"assistant","content":"c"}]}'
# Each may stand alone in a line, be cut by the end of one, or go on in the next.
PIECES = [
    PLAIN,
    PLAIN[:-1] + b',"note":"x:","size":1.5}',
    PLAIN.replace(b"a: b", rb"a\u003a b").replace(b"[{", b'[{"role":"system","content":"s"},{'),
    PLAIN.replace(b"a: b", rb"\u003A").replace(b'"user"', b'"user","role":"user"'),
    PLAIN.replace(b'"c"', b'"  "'),
    PLAIN.replace(b'"c"', rb'"c\u0000"'),
    PLAIN.replace(b'"user"', b'"system"'),
    *(b'{"messages":[', b'{"role":"user","content":"a"}', b'{"role":"assistant","content":"b"}', b"]}"),
    *(b'{"messages":[{"role":"user","content":"a', b'"},{"role":"assistant","content":"b"}]}', b","),
    *(b'{"x":[{', b'"x":1}]}', b"[", b"]", b'"messages":', b"{", b"}", b"", b" ", b"7", b"\xff"),
]
ROLE_FIRST = b'{"role":1,"messages":['
LINES = st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(b"".join), min_size=1, max_size=5)


def alone(line):
    try:
        source = orjson.loads(line)
    except orjson.JSONDecodeError:
        return read_row(line) if line.strip() else (None, {"blank_line"})
    return _read_any(line, source, CHAT) if type(source) is dict else (None, {"data_type|the row|an object"})


@examples(1000)
@given(LINES | st.lists(st.sampled_from(PIECES[:3]), min_size=1, max_size=60))
@example([PLAIN + b"," + PLAIN])
@example([PIECES[7] + PIECES[8], PIECES[9] + PIECES[10], PLAIN + b"," + PLAIN])
@example([ROLE_FIRST + PIECES[8], PIECES[9] + PIECES[10], ROLE_FIRST + PLAIN[13:] + b"," + ROLE_FIRST + PLAIN[13:]])
@example([PLAIN, PIECES[5]])
@example([PIECES[11], PIECES[12], PLAIN + b"," + PLAIN])
@example([b'{"messages":[{"x":[', b"1]}],", PIECES[0][1:], PLAIN + b"," + PLAIN])
def test_lines_that_are_read_together_are_read_as_each_alone(lines) -> None:
    def outcome(row, codes):
        return row and row.canonical, {code.partition("|")[0] for code in codes}

    together = [outcome(*read) for some in read_rows(lines) for read in some]
    assert together == [outcome(*alone(line)) for line in lines]


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
