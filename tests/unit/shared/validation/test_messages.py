"""The messages of a row in canonical form, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.validation.messages import are_plain, read_messages, read_tools

USER = {"role": "user", "content": "Which part?"}
ANSWER = {"role": "assistant", "content": "a bolt"}


@pytest.mark.parametrize(
    ("messages", "plain"),
    [
        ([USER, ANSWER], True),
        ([], False),
        (None, False),
        ({"role": "user", "content": "x"}, False),
        ([{"content": "x", "role": "user"}], False),
        ([{"role": "tool", "content": "x"}], False),
        ([{"role": "user", "content": " \u200b"}], False),
        ([{"role": "user", "content": "a\0b"}], False),
        ([{"role": "user", "content": 7}], False),
        ([{"role": "user", "content": "é"}], True),
        ([{**USER, "name": "ada"}], False),
        (["user"], False),
    ],
)
def test_messages_are_plain_if_there_is_nothing_to_change(messages: Any, plain: bool) -> None:
    assert are_plain(messages) is plain


@pytest.mark.parametrize(
    ("message", "clean"),
    [
        ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
         {"role": "user", "content": "a\nb"}),
        ({**ANSWER, "weight": 0}, {**ANSWER, "weight": 0}),
        ({**ANSWER, "weight": 1}, ANSWER),
        ({**ANSWER, "train": False}, {**ANSWER, "weight": 0}),
        ({**USER, "name": "ada"}, {**USER, "name": "ada"}),
        ({"role": "tool", "tool_call_id": "c1", "content": {"a": 1}},
         {"role": "tool", "tool_call_id": "c1", "content": '{"a":1}'}),
    ],
)  # fmt: skip
def test_a_message_has_one_canonical_form(message: dict[str, Any], clean: dict[str, Any]) -> None:
    codes: set[str] = set()
    assert read_messages([message], codes) == [clean]
    assert codes == set()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (None, "missing_messages_list"),
        ("hello", "data_type|messages is text, not a list of messages"),
        ([7], "data_type|a message is a number, not an object"),
        ([{"content": "x"}], "message_missing_key"),
        ([{"rol": "user", "content": "x"}], "message_missing_key"),
        ([{**USER, "contents": "x"}], "ignored_field|messages[].contents"),
        ([{"role": "narrator", "content": "x"}], "unrecognized_role"),
        ([{"role": "user"}], "missing_content"),
        ([{"role": "user", "content": 7}], "data_type|content is a number, not text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "content_not_text"),
        ([{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}], "reasoning_not_read|a thought"),
        ([{"role": "assistant", "content": None, "refusal": "No."}], "refusal_not_read"),
        ([{"role": "assistant", "refusal": "No."}], "refusal_not_read"),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}], "refusal_not_read"),
        ([{"role": "assistant", "content": None, "refusal": None}], "missing_content"),
        ([{**ANSWER, "refusal": "No."}], "ignored_field|messages[].refusal"),
        ([{**ANSWER, "reasoning": "x"}], "reasoning_not_read|messages[].reasoning"),
        ([{**ANSWER, "weight": 0.5}], "invalid_weight"),
        ([{**ANSWER, "weight": 1, "train": False}], "invalid_weight"),
        ([{**ANSWER, "loss_masked": True}], "weight_not_read|loss_masked"),
        ([{"role": "tool", "content": "x"}], "message_missing_key"),
    ],
)
def test_what_is_wrong_with_messages_is_one_code(messages: Any, code: str) -> None:
    codes: set[str] = set()
    read_messages(messages, codes)
    assert codes == {code}


TOOL = {"type": "function", "function": {"name": "find"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": "x"}])
@pytest.mark.parametrize("key", ["refusal", "mood"])
def test_a_key_beside_calls_is_named_whatever_the_content(content: Any, key: str) -> None:
    codes: set[str] = set()
    read_messages([USER, {"role": "assistant", **content, "tool_calls": [CALL], key: "No."}], codes)
    assert codes == {f"ignored_field|messages[].{key}"}


@pytest.mark.parametrize(
    ("tools", "read", "codes"),
    [
        (None, [], set()),
        ([TOOL], [TOOL], set()),
        ([{"type": "web_search"}], [], {"invalid_tools"}),
        ({"find": {}}, [], {"invalid_tools"}),
    ],
)
def test_tools_are_functions_with_a_name(tools: Any, read: list[Any], codes: set[str]) -> None:
    found: set[str] = set()
    assert (read_tools(tools, found), found) == (read, codes)


@pytest.mark.parametrize(
    ("second", "code"),
    [(TOOL, "tool_defined_again"), ({"type": "function", "function": {"name": "find", "x": 1}}, "tool_defined_twice")],
)
def test_a_tool_that_is_defined_twice_is_named_by_its_place(second: Any, code: str) -> None:
    codes: set[str] = set()
    read_tools([TOOL, second], codes)
    assert [one.split("|")[0] for one in codes] == [code]
    assert "tools[1].function.name" in next(iter(codes))


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("more", [{}, {"content": None}, {"content": ""}, {"content": " \n", "name": None}])
def test_a_system_message_without_text_is_as_if_absent(role, more) -> None:
    codes: set[str] = set()
    empty = {"role": role, **more}
    assert (read_messages([empty, USER, ANSWER], codes), codes) == ([USER, ANSWER], set())
    assert (read_messages([empty], codes), codes) == ([], {"missing_messages_list"})


def test_a_system_message_without_text_that_says_something_else_is_not_left_out() -> None:
    codes: set[str] = set()
    read_messages([{"role": "system", "content": None, "contnet": "Be brief."}, USER, ANSWER], codes)
    assert codes == {"missing_content", "ignored_field|messages[].contnet"}
