"""The texts of a row, and the row with others in their place."""

from __future__ import annotations

from typing import Any

import pytest

from shared.validation.content.texts import texts_of_row, with_texts_of_row

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": ["x", 2]}'}}
ROWS: list[tuple[dict[str, Any], list[str]]] = [
    ({"messages": [{"role": "user", "content": "hi"}]}, ["hi"]),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [CALL]}]}, ["", "f", "x", "2"]),
    ({"messages": [{"role": "assistant", "content": "no", "weight": 0}], "item": {}}, ["no"]),
    ({"messages": [], "item": {"id": "case 7", "role": "nurse", "n": 1.5, "ok": True}}, ["case 7", "nurse", "1.5"]),
    ({"messages": [], "item": {"arguments": "{no json"}}, ["{no json"]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "texts"), ROWS)
def test_texts_and_numbers_are_found_in_order_and_those_of_the_form_are_not(
    row: dict[str, Any], texts: list[str]
) -> None:
    assert texts_of_row(row) == texts


@pytest.mark.parametrize("row", [row for row, _ in ROWS])
def test_a_row_with_its_own_texts_in_their_place_is_the_row(row: dict[str, Any]) -> None:
    assert with_texts_of_row(row, iter(texts_of_row(row))) == row


def test_other_texts_come_in_order_also_inside_the_arguments_of_a_call() -> None:
    row = {"messages": [{"role": "assistant", "content": "", "tool_calls": [CALL]}], "item": {"n": 1}}
    changed = with_texts_of_row(row, iter(["said", "g", "y", "2", "[NUMBER]"]))
    [message] = changed["messages"]
    assert message["content"] == "said"
    assert message["tool_calls"][0] == {**CALL, "function": {"name": "g", "arguments": '{"a":["y",2]}'}}
    assert changed["item"] == {"n": "[NUMBER]"}
