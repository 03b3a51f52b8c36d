"""Keys below the fields of a row that nothing reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.validation.formats import detect
from shared.validation.rows import read_row

Row = dict[str, Any]
QUESTION, ANSWER = {"role": "user", "content": "Is it on?"}, {"role": "assistant", "content": "yes"}
TOOLS = [{"type": "function", "function": {"name": "look"}}]
PASSAGE = "The press in hall 3 runs from six to ten."


def chat(more: Row) -> Row:
    return {"messages": [{**QUESTION, **more}, ANSWER]}


def answer(more: Row) -> Row:
    return {"messages": [QUESTION, {**ANSWER, **more}]}


def turn(more: Row) -> Row:
    return {"conversations": [{"from": "human", "value": "Is it on?", **more}, {"from": "gpt", "value": "yes"}]}


def part(more: Row) -> Row:
    return {"messages": [QUESTION, {**ANSWER, "content": [{"type": "text", "text": "yes", **more}]}]}


def called(call: Row, function: Row) -> Row:
    made = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}", **function}, **call}
    return {"messages": [QUESTION, {"role": "assistant", "tool_calls": [made]}], "tools": TOOLS}


def call(more: Row) -> Row:
    return called(more, {})


def function(more: Row) -> Row:
    return called({}, more)


def result(more: Row) -> Row:
    row = called({}, {})
    return {
        **row,
        "messages": [*row["messages"], {"role": "tool", "tool_call_id": "c", "content": "1", **more}, ANSWER],
    }


def pair(more: Row) -> Row:
    other = [{"role": "assistant", "content": "no"}]
    return {"input": {"messages": [QUESTION], **more}, "preferred_output": [ANSWER], "non_preferred_output": other}


def input_of_pair(more: Row) -> Row:
    return {**pair({}), "input": {"messages": [{**QUESTION, **more}]}}


def output(more: Row) -> Row:
    return {**pair({}), "preferred_output": [{**ANSWER, **more}]}


LEVELS: dict[str, tuple[Callable[[Row], Row], str]] = {
    "a message": (chat, "messages[]"),
    "an answer": (answer, "messages[]"),
    "a turn": (turn, "messages[]"),
    "a part of content": (part, "messages[].content[]"),
    "a call": (call, "messages[].tool_calls[]"),
    "a function": (function, "messages[].tool_calls[].function"),
    "a result": (result, "messages[]"),
    "an input": (pair, "input"),
    "a question of a pair": (input_of_pair, "input.messages[]"),
    "an output": (output, "preferred_output[]"),
}


def codes_of(row: Row) -> tuple[bool, set[str]]:
    form = detect([row])
    assert form is not None
    read, codes = read_row(json.dumps(row).encode(), form)
    return read is not None, set(codes)


@pytest.mark.parametrize(("make", "path"), LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("value", ["x", 3, 0, False, ["x"], {"a": "b"}, PASSAGE])
def test_a_key_that_nothing_reads_is_named_with_its_path(make: Callable[[Row], Row], path: str, value: Any) -> None:
    assert codes_of(make({"mood": value})) == (True, {f"ignored_field|{path}.mood"})


@pytest.mark.parametrize(("make", "path"), LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_key_that_holds_nothing_is_not_named(make: Callable[[Row], Row], path: str, value: Any) -> None:
    assert codes_of(make({"mood": value})) == (True, set())


@pytest.mark.parametrize(("make", "path"), LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("context", PASSAGE, "passage_not_read"),
        ("documents", [{"text": PASSAGE}], "passage_not_read"),
        ("images", ["a.png"], "media_not_read"),
        ("image", "data:image/png;base64,AAAA", "media_not_read"),
    ],
)
def test_a_key_that_answers_may_need_is_refused(
    make: Callable[[Row], Row], path: str, key: str, value: Any, code: str
) -> None:
    assert codes_of(make({key: value})) == (False, {f"{code}|{path}.{key}"})


@pytest.mark.parametrize(("make", "path"), LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("value", [False, 0, [None]])
def test_a_key_that_says_that_there_are_no_media_is_named(make: Callable[[Row], Row], path: str, value: Any) -> None:
    assert codes_of(make({"image": value})) == (True, {f"ignored_field|{path}.image"})


@pytest.mark.parametrize(("make", "path"), LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("value", ["mobile app", "Manual 3.pdf", ["ISO 9001"]])
def test_a_title_is_no_passage(make: Callable[[Row], Row], path: str, value: Any) -> None:
    assert codes_of(make({"context": value})) == (True, {f"ignored_field|{path}.context"})


OF_LANGCHAIN = {"type": "ai", "content": "yes"}
CALL_OF_LANGCHAIN = {"name": "look", "args": {}, "id": "c", "type": "tool_call"}
RESULT_OF_ANTHROPIC = {"type": "tool_result", "tool_use_id": "c", "content": "1"}
CALLED = {"name": "look", "arguments": "{}"}


def after_question(*after: Row, **beside: Any) -> Row:
    return {"messages": [QUESTION, *after], **beside}


def in_data(more: Row) -> Row:
    return after_question({"type": "ai", "data": {"content": "yes"}, **more})


def call_of_langchain(more: Row) -> Row:
    return after_question({**OF_LANGCHAIN, "tool_calls": [{**CALL_OF_LANGCHAIN, **more}]}, tools=TOOLS)


def answered_by(role: Any) -> Row:
    call = {"role": "assistant", "tool_calls": called({}, {})["messages"][1]["tool_calls"]}
    return after_question(call, {"role": role, "content": [RESULT_OF_ANTHROPIC]}, ANSWER, tools=TOOLS)


def both_calls(older: Any) -> Row:
    row = called({}, {})
    row["messages"][1]["function_call"] = older
    return row


def result_of_turns(identifier: Any) -> Row:
    turns = [("human", "Is it on?"), ("function_call", json.dumps(CALLED)), ("observation", "1"), ("gpt", "yes")]
    read: list[Row] = [{"from": sender, "value": value} for sender, value in turns]
    read[2]["tool_call_id"] = identifier
    return {"conversations": read, "tools": TOOLS}


CALLS_TWICE = "field_twice|the calls of a message (function_call and tool_calls)"
KEY_TWICE = "field_twice|a key of a message (beside its content and in a part of it)"
CALL_OF_TURN = "field_twice|the call that a turn answers (by tool_call_id and by its place)"
OF_A_WRONG_TYPE: dict[str, tuple[Row, bool, set[str]]] = {
    "functions of an input as text": (pair({"functions": "look"}), True, {"ignored_field|input.functions"}),
    "functions of an input as a number": (pair({"functions": 5}), True, {"ignored_field|input.functions"}),
    "tools of an input as a list of texts": (pair({"tools": ["look"]}), True, {"ignored_field|input.tools"}),
    "tools of an input as an object": (pair({"tools": {"a": "b"}}), False, {"invalid_tools"}),
    "functions of an input and its item": (
        pair({"functions": "look", "item": {"mood": "good"}}),
        True,
        {"ignored_field|input.functions", "ignored_field|input.mood"},
    ),
    "functions in an item and beside it": (
        after_question(ANSWER, functions="look", item={"functions": "see"}),
        False,
        {"field_twice|the field functions (in item and beside it)"},
    ),
    "false for the system text of a pair": (
        {**pair({}), "system": False},
        False,
        {"data_type|system is true or false, not text"},
    ),
    "false for the history": (
        {"prompt": "Is it on?", "completion": "yes", "history": False},
        False,
        {"data_type|history is true or false, not a list of turns or of [question, answer]"},
    ),
    "a number in a block of the system text": (
        after_question(ANSWER, system=[{"type": "text", "text": 5}]),
        False,
        {"data_type|system is a list, not text"},
    ),
    "a block of the system text that is no text": (
        after_question(ANSWER, system=[{"type": "image", "text": "On."}]),
        False,
        {"data_type|system is a list, not text"},
    ),
    "a role of the system text that is none": (
        after_question(ANSWER, system={"role": "mood", "parts": [{"text": "On."}]}),
        False,
        {"data_type|system is an object, not text"},
    ),
    "a key beside data": (in_data({"mood": "good"}), True, {"ignored_field|messages[].mood"}),
    "a text beside data": (in_data({"content": "no"}), False, {KEY_TWICE}),
    "another type in data": (in_data({"data": {"type": "tool", "content": "yes"}}), False, {KEY_TWICE}),
    "data as text": (after_question({**OF_LANGCHAIN, "data": "good"}), True, {"ignored_field|messages[].data"}),
    "a key of a call with args": (
        call_of_langchain({"mood": "good"}),
        True,
        {"ignored_field|messages[].tool_calls[].mood"},
    ),
    "a type of a call with args": (
        call_of_langchain({"type": "mood"}),
        False,
        {"invalid_tool_calls||messages[1].tool_calls[0].type"},
    ),
    "a result of no role": (answered_by("mood"), False, {"unrecognized_role"}),
    "a result of a role that is a number": (answered_by(5), False, {"data_type|role is a number, not text"}),
    "an older call that is false": (
        after_question({**ANSWER, "function_call": False}),
        True,
        {"ignored_field|messages[].function_call"},
    ),
    "an older call of a result": (
        after_question(
            {"role": "assistant", "content": None, "function_call": CALLED},
            {"role": "function", "name": "look", "content": "1", "function_call": CALLED},
            ANSWER,
            functions=[{"name": "look"}],
        ),
        True,
        {"ignored_field|messages[].function_call"},
    ),
    "an older call with a key that the call lacks": (both_calls({**CALLED, "mood": "good"}), False, {CALLS_TWICE}),
    "calls as false beside an older one": (
        after_question({**ANSWER, "tool_calls": False, "function_call": CALLED}, functions=[{"name": "look"}]),
        False,
        {CALLS_TWICE, "invalid_tool_calls||messages[1].tool_calls"},
    ),
    "calls as a number beside others without ids": (
        after_question(
            {"role": "assistant", "tool_calls": [{"function": CALLED}]},
            {"role": "tool", "content": "1"},
            {**ANSWER, "tool_calls": 5},
            tools=TOOLS,
        ),
        False,
        {"invalid_tool_calls||messages[3].tool_calls"},
    ),
    "an id of a result as a number": (result_of_turns(5), False, {CALL_OF_TURN}),
    "an id of a result that is none": (result_of_turns(None), True, set()),
}


@pytest.mark.parametrize(("row", "is_read", "codes"), OF_A_WRONG_TYPE.values(), ids=OF_A_WRONG_TYPE)
def test_a_known_name_with_a_value_of_another_type_is_named_or_refused(
    row: Row, is_read: bool, codes: set[str]
) -> None:
    assert codes_of(row) == (is_read, codes)


TWO_ANSWERS = {"prompt": "Is it on?", "chosen": "yes", "rejected": "no"}
NOT_READ: dict[str, tuple[Row, str]] = {
    "a dialogue beside a pair": ({"prompt": "Is it on?", "completion": "yes"}, "messages"),
    "a dialogue beside turns": (turn({}), "messages"),
    "a dialogue beside a text": ({"text": "It is on."}, "messages"),
    "a dialogue beside a preference": (pair({}), "messages"),
    "an output beside two answers": (TWO_ANSWERS, "preferred_output"),
    "another output beside two answers": (TWO_ANSWERS, "non_preferred_output"),
}


@pytest.mark.parametrize(("row", "name"), NOT_READ.values(), ids=NOT_READ)
@pytest.mark.parametrize("value", ["x", 3, True, ["x"], {"a": "b"}, [QUESTION, ANSWER]])
def test_a_field_that_another_format_reads_stays_a_field(row: Row, name: str, value: Any) -> None:
    shape = detect([row])
    assert shape is not None
    read, codes = read_row(json.dumps({**row, name: value}).encode(), shape)
    assert read is not None
    assert (read.item, set(codes)) == ({name: value}, set())


def test_a_passage_that_a_message_holds_is_read() -> None:
    row = {"messages": [{**QUESTION, "content": f"{PASSAGE} Is it on?", "context": PASSAGE}, ANSWER]}
    assert codes_of(row) == (True, {"ignored_field|messages[].context"})


def test_a_key_that_may_be_text_of_a_row_is_not_shown() -> None:
    named = {"ignored_field|fields whose names are not shown"}
    assert codes_of(chat({"+49 170 1234567": "x"})) == (True, named)


def test_a_part_of_two_texts_is_refused() -> None:
    row = {"messages": [QUESTION, {**ANSWER, "content": [{"type": "text", "text": "yes", "value": "no"}]}]}
    assert codes_of(row) == (False, {"field_twice|the text of a part of content (text and value)"})


def test_a_report_counts_the_rows_of_a_key_at_all_places_as_one(check: Any) -> None:
    rows = [chat({"mood": "good"}) for _ in range(60)]
    for number, row in enumerate(rows):
        row["messages"][0]["content"] = f"Is number {number} on?"
        row["messages"][1] = {**ANSWER, "content": f"answer {number}", "mood": "bad"}
    data = "\n".join(map(json.dumps, rows)).encode()
    found = [one for one in check(data).result.report.problems if one.code == "ignored_field"]
    assert [(one.count, one.message.partition(":")[0]) for one in found] == [(60, "Nothing reads messages[].mood")]
