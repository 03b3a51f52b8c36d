"""Calls, results and definitions of tools: which dialogues fit together, and what is reported of the others."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rendering.rows import render_row
from shared.validation.codes import CODES
from shared.validation.formats import PREFERENCE, REINFORCEMENT
from shared.validation.rows import read_row
from tests.paths import ROOT
from tests.unit.shared.rendering import families

Message = dict[str, Any]
USER = {"role": "user", "content": "In stock?"}
ANSWER = {"role": "assistant", "content": "Twelve."}
SYSTEM = {"role": "system", "content": "Be brief."}
FIND: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"part": {"type": "string"}, "size": {"type": "integer"}},
            "required": ["part"],
        },
    },
}
ANYTHING = {"type": "function", "function": {"name": "anything"}}
TOOLS = [FIND, ANYTHING]


def call(identifier: str | None = "c1", name: str = "find", arguments: Any = '{"part": "A4"}', **more: Any) -> Message:
    made = {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return made if identifier is None else {"id": identifier, **made}


def calls(*made: Message, content: str | None = None, **more: Any) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": list(made), **more}


def result(identifier: str = "c1", content: str = "12") -> Message:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def codes(*messages: Message, tools: Any = TOOLS) -> list[str]:
    row = {"messages": list(messages)} | ({} if tools is None else {"tools": tools})
    return sorted(read_row(json.dumps(row).encode())[1])


def tool_result(content: Any = "12", **more: Any) -> Message:
    """A result without the id of its call, as in the documentation of Transformers."""
    return {"role": "tool", "content": content, **more}


VALID: dict[str, tuple[Message, ...]] = {
    "a call, its result, an answer": (USER, calls(call()), result(), ANSWER),
    "a call at the end": (USER, calls(call())),
    "text beside a call": (USER, calls(call(), content="I look."), result(), ANSWER),
    "parallel calls": (USER, calls(call("a"), call("b")), result("a"), result("b"), ANSWER),
    "parallel calls, answered the other way round": (
        USER,
        calls(call("a"), call("b")),
        result("b"),
        result("a"),
        ANSWER,
    ),
    "parallel calls at the end": (USER, calls(call("a"), call("b"))),
    "a call after a result": (USER, calls(call("a")), result("a"), calls(call("b")), result("b"), ANSWER),
    "a call at the end after a result": (USER, calls(call("a")), result("a"), calls(call("b"))),
    "two questions": (USER, calls(call("a")), result("a"), ANSWER, USER, calls(call("b")), result("b"), ANSWER),
    "a system message first": (SYSTEM, USER, calls(call()), result(), ANSWER),
    "an empty result": (USER, calls(call()), result(content=""), ANSWER),
    "a tool without parameters": (USER, calls(call(name="anything", arguments='{"x": 1}')), result(), ANSWER),
    "tools that are not called": (USER, ANSWER),
}


@pytest.mark.parametrize("messages", VALID.values(), ids=VALID)
def test_a_dialogue_that_fits_together_passes(messages: tuple[Message, ...]) -> None:
    assert codes(*messages) == []


FAULTS: dict[str, tuple[tuple[Message, ...], str, str]] = {
    "an answer in place of the result": (
        (USER, calls(call()), ANSWER),
        "tool_call_unanswered",
        "messages[1].tool_calls[0].id",
    ),
    "a question in place of the result": (
        (USER, calls(call()), USER, ANSWER),
        "tool_call_unanswered",
        "messages[1].tool_calls[0].id",
    ),
    "a call in place of the result": (
        (USER, calls(call("a")), calls(call("b"))),
        "tool_call_unanswered",
        "messages[1].tool_calls[0].id",
    ),
    "one of two results": (
        (USER, calls(call("a"), call("b")), result("a"), ANSWER),
        "tool_call_unanswered",
        "messages[1].tool_calls[1].id",
    ),
    "a question between call and result": (
        (USER, calls(call()), USER, result(), ANSWER),
        "tool_result_late",
        "messages[3].tool_call_id",
    ),
    "an answer between call and result": (
        (USER, calls(call()), ANSWER, result(), ANSWER),
        "tool_result_late",
        "messages[3].tool_call_id",
    ),
    "a system message between call and result": (
        (USER, calls(call()), SYSTEM, result(), ANSWER),
        "tool_result_late",
        "messages[3].tool_call_id",
    ),
    "a question between two results": (
        (USER, calls(call("a"), call("b")), result("a"), USER, result("b"), ANSWER),
        "tool_result_late",
        "messages[4].tool_call_id",
    ),
    "a result without a call": ((USER, result(), ANSWER), "tool_message_orphan", "messages[1].tool_call_id"),
    "a result before its call": (
        (USER, result(), calls(call())),
        "tool_message_orphan",
        "messages[1].tool_call_id",
    ),
    "a result at the start": ((result(), USER, ANSWER), "tool_message_orphan", "messages[0].tool_call_id"),
    "two results": ((USER, calls(call()), result(), result(), ANSWER), "tool_result_twice", "messages[3].tool_call_id"),
    "an unknown tool": ((USER, calls(call(name="order"))), "tool_unknown", "messages[1].tool_calls[0].function.name"),
    "an unknown tool beside a known one": (
        (USER, calls(call("a"), call("b", "order"))),
        "tool_unknown",
        "messages[1].tool_calls[1].function.name",
    ),
    "a tool in capital letters": (
        (USER, calls(call(name="Find"))),
        "tool_unknown",
        "messages[1].tool_calls[0].function.name",
    ),
    "a result with an id and a call without one": (
        (USER, calls(call(None)), result(), ANSWER),
        "tool_call_without_id",
        "messages[1].tool_calls[0].id",
    ),
    "fewer results without ids than calls": (
        (USER, calls(call(None), call(None)), tool_result(), ANSWER),
        "tool_call_unanswered",
        "messages[1].tool_calls[1].id",
    ),
    "an empty id": ((USER, calls(call(" "))), "tool_call_without_id", "messages[1].tool_calls[0].id"),
    "an id that is a number": ((USER, calls(call(None, id=7))), "tool_call_without_id", "messages[1].tool_calls[0].id"),
    "one id for two calls": (
        (USER, calls(call("a"), call("a"))),
        "tool_call_id_twice",
        "messages[1].tool_calls[1].id",
    ),
    "an id used again": (
        (USER, calls(call("a")), result("a"), calls(call("a")), result("a"), ANSWER),
        "tool_call_id_reused",
        "messages[3].tool_calls[0].id",
    ),
    "calls of the user": (({**USER, "tool_calls": [call()]}, ANSWER), "invalid_tool_calls", "messages[0].tool_calls"),
    "calls as an object": ((USER, calls() | {"tool_calls": call()}), "invalid_tool_calls", "messages[1].tool_calls"),
    "a call that is text": (
        (USER, calls() | {"tool_calls": ["find"]}),
        "invalid_tool_calls",
        "messages[1].tool_calls[0].function.name",
    ),
    "a call without a name": (
        (USER, calls(call(name=""))),
        "invalid_tool_calls",
        "messages[1].tool_calls[0].function.name",
    ),
    "a call of another kind": (
        (USER, calls(call() | {"type": "code"})),
        "invalid_tool_calls",
        "messages[1].tool_calls[0].type",
    ),
}
ARGUMENTS = "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(("messages", "code", "place"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_together_is_named_with_its_place(
    messages: tuple[Message, ...], code: str, place: str
) -> None:
    assert codes(*messages) == [f"{code}||{place}"]


@pytest.mark.parametrize("tools", [None, []])
def test_calls_without_any_tools_are_a_warning(tools: Any) -> None:
    found = codes(USER, calls(call()), result(), ANSWER, tools=tools)
    assert found == ["tools_missing||messages[1].tool_calls[0].function.name"]
    assert CODES["tools_missing"].severity == "warning"


NOT_JSON = ["{", "A4", "[1]", "7", "null", '"A4"', "{'part': 'A4'}", '{"part": NaN}', 7, True, ["A4"], '"[1]"']


@pytest.mark.parametrize("arguments", NOT_JSON)
def test_arguments_that_are_no_object_are_named(arguments: Any) -> None:
    assert codes(USER, calls(call(arguments=arguments))) == [f"tool_arguments_not_json||{ARGUMENTS}"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"part": "A4", "part": "A5"}', "duplicate_key"),
        (r'{"part": "A4", "p\u0061rt": "A5"}', "duplicate_key"),
        ('{"part": "A4", "to": {"x": 1, "x": 1}}', "duplicate_key"),
        (json.dumps('{"part": "A4", "part": "A5"}'), "duplicate_key"),
        ('{"part": "A4", "size": 36893488147419103232}', "number_out_of_range"),
        (r'{"part": "A\u0000"}', "null_character"),
    ],
)
def test_what_a_parser_would_lose_of_arguments_is_named(arguments: str, code: str) -> None:
    assert codes(USER, calls(call(arguments=arguments))) == [f"{code}||{ARGUMENTS}"]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"size": 4}, {"part": 7}, {"part": "A4", "size": "large"}, {"part": "A4", "size": 1.5}, {"part": None}],
)
def test_arguments_that_violate_the_schema_are_named(arguments: Any) -> None:
    assert codes(USER, calls(call(arguments=arguments))) == [f"tool_arguments_violate_schema||{ARGUMENTS}"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "dict"},
        {"properties": []},
        "text",
        [1],
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"part": {"type": "str"}},
    ],
)
def test_a_schema_that_cannot_be_read_is_a_warning(parameters: Any) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": parameters}}
    (found,) = codes(USER, calls(call()), tools=[tool])
    assert found.startswith("tool_schema_unreadable||")
    assert CODES["tool_schema_unreadable"].severity == "warning"


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}])
def test_a_tool_without_parameters_takes_any_arguments(parameters: Any) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": parameters}}
    assert codes(USER, calls(call(arguments={"x": 1})), tools=[tool]) == []


def test_a_call_with_weight_0_may_be_the_wrong_one() -> None:
    wrong = calls(call("a", "order", {}), weight=0)
    assert codes(USER, wrong, result("a", "no such tool"), calls(call("b")), result("b"), ANSWER) == []
    assert codes(USER, wrong, calls(call("b")))[0].startswith("tool_call_unanswered")


def test_a_row_names_each_kind_of_fault_once_at_its_first_place() -> None:
    found = codes(USER, calls(call("a", "order"), call("b", "order")), result("x"), result("y"), ANSWER)
    assert found == [
        "tool_call_unanswered||messages[1].tool_calls[0].id",
        "tool_message_orphan||messages[2].tool_call_id",
        "tool_unknown||messages[1].tool_calls[0].function.name",
    ]


def test_a_call_that_cannot_be_read_makes_no_orphan_of_its_result() -> None:
    assert codes(USER, calls(call(None)), result(), ANSWER) == ["tool_call_without_id||messages[1].tool_calls[0].id"]
    assert codes(USER, calls(call()), tool_result(name="other"), ANSWER) == ["message_missing_key"]
    assert codes(USER, tool_result(), ANSWER) == ["message_missing_key"]
    assert codes(USER, calls(call()), tool_result(), tool_result(), ANSWER) == ["message_missing_key"]


# Rows of Transformers and TRL, whose calls and results have no ids.

OTHER = call(None, "anything", {})
WITHOUT_IDS: dict[str, tuple[tuple[Message, ...], list[str]]] = {
    "a call at the end": ((USER, calls(call(None))), []),
    "a null id": ((USER, calls(call(None, id=None)), tool_result(tool_call_id=None), ANSWER), ["call_1_0"]),
    "a call and its result": ((USER, calls(call(None)), tool_result(), ANSWER), ["call_1_0"]),
    "a call and its result by name": ((USER, calls(call(None)), tool_result(name="find"), ANSWER), ["call_1_0"]),
    "a result without an id": ((USER, calls(call()), tool_result(), ANSWER), ["c1"]),
    "two calls, in order": (
        (USER, calls(call(None), OTHER), tool_result(), tool_result(), ANSWER),
        ["call_1_0", "call_1_1"],
    ),
    "two calls, by name, the other way round": (
        (USER, calls(call(None), OTHER), tool_result(name="anything"), tool_result(name="find"), ANSWER),
        ["call_1_1", "call_1_0"],
    ),
    "two calls of one function": (
        (USER, calls(call(None), call(None)), tool_result(name="find"), tool_result(name="find"), ANSWER),
        ["call_1_0", "call_1_1"],
    ),
    "one after the other": (
        (USER, calls(call(None)), tool_result(), calls(OTHER), tool_result(name="anything"), ANSWER),
        ["call_1_0", "call_3_0"],
    ),
    "one result of two with its id": (
        (USER, calls(call("a"), call("b")), result("a"), tool_result(), ANSWER),
        ["a", "b"],
    ),
}


@pytest.mark.parametrize(("messages", "answers"), WITHOUT_IDS.values(), ids=WITHOUT_IDS)
def test_calls_and_results_without_ids_are_matched_by_name_and_order(messages: Any, answers: list[str]) -> None:
    row, found = read_row(json.dumps({"messages": messages, "tools": TOOLS}).encode())
    assert not found
    assert row is not None
    assert [one["tool_call_id"] for one in row.messages if one["role"] == "tool"] == answers
    assert read_row(row.canonical)[0] == row


def test_ids_made_up_for_an_output_are_not_those_of_its_input() -> None:
    prompt = [SYSTEM, USER, calls(call(None)), tool_result()]
    again = [calls(call(None)), tool_result()]
    assert pair([*again, *again, ANSWER], [ANSWER], prompt) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"on": True}, '{"on":true}'),
        ([{"part": "A4"}], '[{"part":"A4"}]'),
        ([1, 2], "[1,2]"),
        ([], "[]"),
        (12, "12"),
        (22.5, "22.5"),
        (False, "false"),
        ([{"type": "text", "text": "twelve"}], "twelve"),
        (["a", "b"], "a\nb"),
    ],
)
def test_a_result_that_is_data_is_read_as_its_json(content: Any, text: str) -> None:
    row, found = read_row(
        json.dumps({"messages": [USER, calls(call()), result(content=content), ANSWER], "tools": TOOLS}).encode()
    )
    assert not found
    assert row is not None
    assert row.messages[2]["content"] == text


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": "a.png"}], None])
def test_a_result_that_is_an_image_or_nothing_is_refused(content: Any) -> None:
    (found,) = codes(USER, calls(call()), result(content=content), ANSWER)
    assert found == ("missing_content" if content is None else "content_not_text")


# Definitions.


def test_tools_of_the_responses_api_are_read() -> None:
    flat = {"type": "function", "strict": True, **FIND["function"]}
    row, found = read_row(json.dumps({"messages": [USER, calls(call())], "tools": [flat]}).encode())
    assert not found
    assert row is not None
    assert row.document["tools"] == [{"type": "function", "function": {"strict": True, **FIND["function"]}}]


def test_tools_that_cannot_be_read_are_not_called_missing() -> None:
    assert codes(USER, calls(call()), tools=[{"type": "web_search"}]) == ["invalid_tools"]


@pytest.mark.parametrize(
    ("again", "code"), [(FIND, "tool_defined_again"), ({**FIND, "function": {"name": "find"}}, "tool_defined_twice")]
)
def test_a_tool_with_two_definitions_is_named(again: Any, code: str) -> None:
    assert codes(USER, ANSWER, tools=[FIND, again]) == [f"{code}||tools[1].function.name"]
    assert CODES[code].severity == ("warning" if code == "tool_defined_again" else "error")


GEMINI = {
    "type": "OBJECT",
    "properties": {
        "type": {"type": "STRING", "enum": ["BOLT", "NUT"]},
        "sizes": {"type": "ARRAY", "items": {"type": "NUMBER"}},
        "of": {
            "type": "OBJECT",
            "properties": {"hall": {"type": "INTEGER", "nullable": True}, "on": {"type": "BOOLEAN"}},
        },
    },
    "required": ["type"],
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"type": "BOLT", "sizes": [1.5], "of": {"hall": 3, "on": True}}, True),
        ({"type": "BOLT", "of": {"hall": None}}, True),
        ({"type": "bolt"}, False),
        ({"sizes": [1]}, False),
        ({"type": "NUT", "sizes": ["1"]}, False),
        ({"type": "NUT", "of": {"hall": "3"}}, False),
        ({"type": "NUT", "of": {"on": 1}}, False),
    ],
)
def test_types_in_capitals_are_those_of_json_schema(value: Any, fits: bool) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": GEMINI}}
    found = codes(USER, calls(call(arguments=value)), tools=[tool])
    assert found == ([] if fits else [f"tool_arguments_violate_schema||{ARGUMENTS}"])


NAMED_RESULTS = [("find", True), ("", True), (None, True), ("fnd", False), ("anything", False)]


@pytest.mark.parametrize(("name", "fits"), NAMED_RESULTS)
def test_a_result_has_the_name_of_the_function_that_was_called(name: str | None, fits: bool) -> None:
    made = calls(call("a", "anything", {}), call())
    found = codes(USER, made, result("a"), {**result(), "name": name}, ANSWER)
    assert found == ([] if fits else ["tool_result_name||messages[3].name"])


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "string", "nullable": True}, None, True),
        ({"type": "string", "nullable": True}, "x", True),
        ({"type": "string", "nullable": True}, 7, False),
        ({"type": "string", "nullable": False}, None, False),
        ({"enum": ["a"], "nullable": True}, None, True),
        ({"type": "array", "items": {"type": "integer", "nullable": True}}, [1, None], True),
    ],
)
def test_nullable_of_openapi_allows_null(schema: Any, value: Any, fits: bool) -> None:
    parameters = {"type": "object", "properties": {"x": schema}}
    tool = {"type": "function", "function": {"name": "find", "parameters": parameters}}
    found = codes(USER, calls(call(arguments={"x": value})), tools=[tool])
    assert found == ([] if fits else [f"tool_arguments_violate_schema||{ARGUMENTS}"])


# Other kinds of rows.


def pair(preferred: list[Message], other: list[Message], prompt: list[Message] | None = None) -> list[str]:
    row = {
        "input": {"messages": prompt or [USER], "tools": TOOLS},
        "preferred_output": preferred,
        "non_preferred_output": other,
    }
    return sorted(read_row(json.dumps(row).encode(), PREFERENCE)[1])


def test_each_output_of_a_pair_goes_on_from_the_question() -> None:
    assert pair([calls(call())], [ANSWER]) == []
    assert pair([calls(call()), result(), ANSWER], [ANSWER]) == []
    assert pair([ANSWER], [calls(call("c2", "order", {}))]) == []  # the answer to avoid
    assert pair([ANSWER], [{**ANSWER, "content": "No."}], [USER, calls(call()), result()]) == []
    assert pair([calls(call(name="order"))], [ANSWER]) == [
        "tool_unknown||preferred_output[0].tool_calls[0].function.name"
    ]
    assert pair([ANSWER], [calls(call()), ANSWER]) == ["tool_call_unanswered||non_preferred_output[0].tool_calls[0].id"]
    assert pair([ANSWER], [{**ANSWER, "content": "No."}], [USER, result()]) == [
        "tool_message_orphan||input.messages[1].tool_call_id"
    ]


def test_a_prompt_may_end_with_all_results_and_not_with_some() -> None:
    def prompt(*messages: Message) -> list[str]:
        row = {"messages": list(messages), "tools": TOOLS, "target": 1}
        return sorted(read_row(json.dumps(row).encode(), REINFORCEMENT)[1])

    assert prompt(USER, calls(call("a"), call("b")), result("a"), result("b")) == []
    assert prompt(USER, calls(call("a"), call("b")), result("a")) == [
        "tool_call_unanswered||messages[1].tool_calls[1].id"
    ]


# What is read.


def canonical(arguments: Any) -> str:
    row, found = read_row(
        json.dumps({"messages": [USER, calls(call(arguments=arguments, name="anything"))], "tools": TOOLS}).encode()
    )
    assert not found
    assert row is not None
    return str(json.loads(row.canonical)["messages"][1]["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize("arguments", ["", " ", None, {}, "{}", '"{}"'])
def test_no_arguments_are_read_as_an_empty_object(arguments: Any) -> None:
    assert json.loads(canonical(arguments)) == {}


def test_type_and_arguments_may_be_left_out() -> None:
    bare = {"messages": [USER, calls({"id": "c1", "function": {"name": "anything"}})], "tools": TOOLS}
    row, found = read_row(json.dumps(bare).encode())
    assert not found
    assert row is not None
    assert row.document["messages"][1]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "anything", "arguments": "{}"}}
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab:"\\é\n🔩{}'), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:\"'é", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text('ab:"é', max_size=4), JSON, max_size=4), st.booleans())
def test_an_object_its_text_and_its_text_encoded_again_are_read_the_same(value: dict[str, Any], spaced: bool) -> None:
    text = json.dumps(value, ensure_ascii=spaced, separators=(", ", ": ") if spaced else (",", ":"))
    assert [json.loads(canonical(form)) for form in (value, text, json.dumps(text))] == [value] * 3
    assert canonical(text) == text


def test_arguments_in_any_form_are_rendered_the_same() -> None:
    texts = set()
    for arguments in ({"part": "Zürich"}, '{"part": "Zürich"}', '"{\\"part\\": \\"Zürich\\"}"'):
        row, _ = read_row(json.dumps({"messages": [USER, calls(call(arguments=arguments))], "tools": TOOLS}).encode())
        assert row is not None
        texts.add(render_row(families.bundle("qwen", marked=True), row.document)[0].text)
    assert len(texts) == 1
    assert '{"part": "Zürich"}' in texts.pop()


# In a report.


def test_a_report_names_row_and_field_of_each_fault(check: Any, rows: Any) -> None:
    bad = [{"messages": [USER, calls(call(f"c{n}")), ANSWER], "tools": TOOLS} for n in range(2)]
    late = {"messages": [SYSTEM, USER, calls(call()), ANSWER], "tools": TOOLS}
    (problem,) = [
        one
        for one in check(rows(60, *bad, late), rows(20, start=100)).result.report.problems
        if one.severity == "error"
    ]
    assert (problem.code, problem.count, problem.rows) == ("tool_call_unanswered", 3, (61, 62, 63))
    assert problem.parts == (
        "messages[1].tool_calls[0].id",
        "messages[1].tool_calls[0].id",
        "messages[2].tool_calls[0].id",
    )


def test_a_problem_that_is_not_of_a_field_names_none(check: Any, rows: Any) -> None:
    problem = next(one for one in check(rows(60, b"{")).result.report.problems if one.code == "invalid_json")
    assert problem.parts == ()


# Every short dialogue of these turns: what is reported of it follows from a definition written another way.

TURNS = {
    "u": USER,
    "s": ANSWER,
    "a": calls(call("a")),
    "b": calls(call("a"), call("b")),
    "1": result("a"),
    "2": result("b"),
}


def fits(word: str) -> bool:
    """After calls come exactly their results, in any order, and results come nowhere else; the end may be a call."""
    at = 0
    while at < len(word):
        turn = word[at]
        at += 1
        if turn in "12":
            return False
        if turn in "ab" and at < len(word):
            expected = ["1"] if turn == "a" else ["1", "2"]
            if sorted(word[at : at + len(expected)]) != expected:
                return False
            at += len(expected)
    return True


def test_every_dialogue_of_up_to_five_turns_is_judged_as_defined() -> None:
    for length in range(1, 6):
        for word in map("".join, itertools.product(TURNS, repeat=length)):
            if word[-1] in "sab":
                found = {code.partition("|")[0] for code in codes(USER, *(TURNS[turn] for turn in word))}
                assert (found <= {"tool_call_id_reused"}) == fits(word), (word, found)


PUBLIC = ROOT.parent / "shared" / "data" / "public"


@pytest.mark.parametrize("name", ["training", "validation"])
def test_real_rows_with_calls_are_right(name: str) -> None:
    path = Path(PUBLIC, f"Supervised_Fine_Tuning_Tool-Calling_stock_toolcall_{name}.jsonl")
    if not path.exists():
        pytest.skip("the public files are not here")
    found = [read_row(line)[1] for line in path.read_bytes().splitlines()]
    assert len(found) >= 10
    assert not any(found)
    assert any(b"tool_calls" in line for line in path.read_bytes().splitlines())
    assert orjson.loads(path.read_bytes().splitlines()[0])["tools"]


def older(arguments: Any = '{"part": "A4"}', **more: Any) -> Message:
    return {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": arguments}, **more}


FUNCTION_RESULT = {"role": "function", "name": "find", "content": "12"}
NEWER = [USER, calls(call("call_1_0")), {**result("call_1_0"), "name": "find"}, ANSWER]
OLDER = {
    "call and result": ([USER, older(), FUNCTION_RESULT, ANSWER], NEWER),
    "arguments as an object": (
        [USER, older({"part": "A4"}), FUNCTION_RESULT, ANSWER],
        [USER, calls(call("call_1_0", arguments={"part": "A4"})), *NEWER[2:]],
    ),
    "a call as text": (
        [USER, older(function_call='{"name": "find", "arguments": {"part": "A4"}}'), FUNCTION_RESULT, ANSWER],
        [USER, calls(call("call_1_0", arguments={"part": "A4"})), *NEWER[2:]],
    ),
    "a result without a name": (
        [USER, older(), {"role": "function", "content": "12"}, ANSWER],
        [USER, calls(call("call_1_0")), result("call_1_0"), ANSWER],
    ),
    "a result as data": (
        [USER, older(), {**FUNCTION_RESULT, "content": {"stock": 12}}, ANSWER],
        [USER, calls(call("call_1_0")), {**result("call_1_0", '{"stock":12}'), "name": "find"}, ANSWER],
    ),
    "text beside the call": (
        [USER, older(content="I look."), FUNCTION_RESULT, ANSWER],
        [USER, calls(call("call_1_0"), content="I look."), *NEWER[2:]],
    ),
    "two calls, one after the other": (
        [USER, older(), FUNCTION_RESULT, older(), FUNCTION_RESULT, ANSWER],
        [*NEWER[:3], calls(call("call_3_0")), {**result("call_3_0"), "name": "find"}, ANSWER],
    ),
    "the call is what is learned": ([USER, older()], NEWER[:2]),
    "a call of weight 0": (
        [USER, older(weight=0), FUNCTION_RESULT, ANSWER],
        [USER, calls(call("call_1_0"), weight=0), *NEWER[2:]],
    ),
    "no call": ([USER, {**ANSWER, "function_call": None}], [USER, ANSWER]),
    "an empty call": ([USER, {**ANSWER, "function_call": {}}], [USER, ANSWER]),
    "both ways": ([USER, {**calls(call("c1")), "function_call": older()["function_call"]}], [USER, calls(call("c1"))]),
}


@pytest.mark.parametrize(("legacy", "messages"), OLDER.values(), ids=OLDER)
@pytest.mark.parametrize("tools", ["tools", "functions"])
def test_the_older_function_call_is_read_as_a_tool_call(legacy, messages, tools) -> None:
    given = TOOLS if tools == "tools" else [tool["function"] for tool in TOOLS]
    read, found = read_row(json.dumps({"messages": legacy, tools: given}).encode())
    expected, _ = read_row(json.dumps({"messages": messages, "tools": TOOLS}).encode())
    assert list(found) == []
    assert read is not None
    assert expected is not None
    assert read.canonical == expected.canonical


def test_older_calls_of_a_preference_pair_and_of_a_prompt_are_read_too() -> None:
    prompt = {"messages": [USER, older(), FUNCTION_RESULT], "functions": [FIND["function"]]}
    pair = {"input": prompt, "preferred_output": [older()], "non_preferred_output": [ANSWER]}
    for row, form in ((pair, PREFERENCE), ({**prompt, "answer": "12"}, REINFORCEMENT)):
        read, found = read_row(json.dumps(row).encode(), form)
        assert list(found) == []
        assert read is not None
        assert [one["role"] for one in read.messages[:3]] == ["user", "assistant", "tool"]
        assert b"function_call" not in read.canonical


OLDER_FAULTS = {
    "a call without a name": (
        [USER, older(function_call={"arguments": "{}"})],
        ["invalid_tool_calls||messages[1].function_call"],
    ),
    "a call that is text": ([USER, older(function_call="look()")], ["invalid_tool_calls||messages[1].function_call"]),
    "arguments that are no JSON": (
        [USER, older("{part")],
        ["tool_arguments_not_json||messages[1].tool_calls[0].function.arguments"],
    ),
    "a key twice": (
        [USER, older(function_call='{"name": "find", "arguments": {"part": "A4", "part": "A5"}}')],
        ["duplicate_key"],
    ),
    "no result": ([USER, older(), USER, ANSWER], ["tool_call_unanswered||messages[1].tool_calls[0].id"]),
    "no call": ([USER, FUNCTION_RESULT, ANSWER], ["message_missing_key"]),
    "of the user": (
        [{**USER, "function_call": older()["function_call"]}, ANSWER],
        ["invalid_tool_calls||messages[0].tool_calls"],
    ),
    "both ways, another call": (
        [USER, {**calls(call("c1")), "function_call": {"name": "other", "arguments": "{}"}}],
        ["field_twice|the calls of a message (function_call and tool_calls)"],
    ),
    "a key that nothing reads": (
        [USER, older(function_call={"name": "find", "arguments": '{"part": "A4"}', "cost": 3})],
        ["ignored_field|messages[].tool_calls[].function.cost"],
    ),
}


@pytest.mark.parametrize(("messages", "expected"), OLDER_FAULTS.values(), ids=OLDER_FAULTS)
def test_what_is_wrong_with_an_older_call_is_said_like_of_a_newer_one(messages, expected) -> None:
    assert codes(*messages) == expected
