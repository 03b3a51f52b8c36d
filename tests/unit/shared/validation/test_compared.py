"""What rows are compared by: what is read before the answer, and the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.recipe import Recipe
from shared.validation.compared import (
    LABEL_CHARACTERS,
    answer_fields,
    compared_texts,
    content_of,
    label_key,
    label_of,
    plain_label,
    reference_of,
)
from shared.validation.rows import ParsedRow, row_of


def row(*contents: str, **last: Any) -> ParsedRow:
    roles = ("user", "assistant") * len(contents)
    messages: list[dict[str, Any]] = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]
    messages[-1].update(last)
    return row_of({"messages": messages, "item": {}})


def call(arguments: str, id: str = "c1") -> list[dict[str, Any]]:
    return [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]


@pytest.mark.parametrize(
    ("left", "right", "are_equal"),
    [
        (row("a", "b"), row(" a\n", "b "), True),
        (row("a", "b"), row("a", "c"), False),
        (row("a", "b"), row("A", "b"), False),
        (row("a", "", tool_calls=call('{"x": 1, "y": 2}')), row("a", "", tool_calls=call('{"y":2,"x":1}', "c2")), True),
        (row("a", "", tool_calls=call('{"x": 1}')), row("a", "", tool_calls=call('{"x": 2}')), False),
    ],
)
def test_rows_that_ask_and_answer_the_same_have_the_same_key(
    left: ParsedRow, right: ParsedRow, are_equal: bool
) -> None:
    assert (content_of(left).key == content_of(right).key) is are_equal


def test_a_turn_inside_a_dialogue_is_that_of_a_row_that_ends_there() -> None:
    whole, beginning = content_of(row("a", "b", "c", "d")), content_of(row("a", "b"))
    assert whole.earlier == (beginning.turn,)
    assert whole.turn.prompt != beginning.turn.prompt


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("  Two  WORDS. ", "two words"),
        ("x" * LABEL_CHARACTERS, "x" * LABEL_CHARACTERS),
        ("x" * 201, ""),
        ("a.b", "a.b"),
    ],
)
def test_a_label_is_a_short_answer_whatever_its_case_and_blanks(answer: str, label: str) -> None:
    assert plain_label(label_of(row("q", answer))) == label


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        ('{"kind": "Bolt", "size": 5, "ok": true}', [("kind", "bolt"), ("size", "5"), ("ok", "true")]),
        ('```json\n{"kind": "bolt"}\n```', [("kind", "bolt")]),
        ('{"a": {"b": "x", "c": {"d": "y"}}, "list": [1], "none": null, "half": 0.5}', [("a.b", "x")]),
        (json.dumps({"long": "x" * 61, "short": "x" * 60}), [("short", "x" * 60)]),
        (json.dumps({f"k{n}": n for n in range(20)}), [(f"k{n}", str(n)) for n in range(16)]),
        ("a bolt", []),
        ('{"kind": ', []),
        ("[1]", []),
    ],
)
def test_short_values_of_an_answer_that_is_json_are_its_fields(answer: str, fields: list[tuple[str, str]]) -> None:
    assert [(name, plain_label(value)) for name, value in answer_fields(row("q", answer))] == fields


def test_system_messages_results_and_tools_are_context_and_a_call_is_an_answer() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "q"},
        {"role": "tool", "content": "r", "tool_call_id": "c0"},
        {"role": "assistant", "content": "", "tool_calls": call('{"b":1,"a":2}')},
    ]
    found = compared_texts(messages, [{"name": "f"}])
    assert found == ('be short\nr\n[{"name":"f"}]', "q", ' f {"a":2,"b":1}')


REWARD = {"name": "r", "type": "regex", "pattern": "x"}


@pytest.mark.parametrize(
    ("grader", "label"),
    [
        ({"name": "g", "type": "string_check", "reference": "{{item.answer}}"}, "bolt"),
        ({"name": "g", "type": "string_check", "reference": "always"}, None),
        ({"name": "g", "type": "string_check", "reference": "{{sample.output_text}} {{item.answer}}"}, "bolt"),
        ({"name": "g", "type": "python", "source": "def grade(sample, item):\n    return item['answer'] == 1"}, "bolt"),
    ],
)
def test_the_label_of_a_prompt_is_what_its_answer_is_compared_with(grader: dict[str, Any], label: str | None) -> None:
    recipe = Recipe.model_validate(
        {
            "base_model": "droptune/tiny-llama",
            "method": {"type": "reinforcement", "graders": [REWARD]},
            "evaluation": {"graders": [grader]},
        }
    )
    prompt = row_of({"messages": [{"role": "user", "content": "q"}], "item": {"answer": "Bolt"}})
    reference = reference_of(recipe)
    assert (reference and plain_label(label_of(prompt, reference))) == label
    assert reference_of(Recipe(base_model="droptune/tiny-llama")) is None


def test_a_label_has_a_signed_key_of_64_bits_and_none_has_0() -> None:
    assert label_key("") == 0
    assert label_key("bolt") == label_key("bolt") != label_key("nut")
    assert all(-(2**63) <= label_key(str(n)) < 2**63 for n in range(100))
