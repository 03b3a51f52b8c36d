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
