"""What is counted of the rows that are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.catalog import CATALOG


def test_statistics_count_the_characters_of_the_rows_that_are_kept(check, rows) -> None:
    long = {
        "messages": [
            {"role": "user", "content": "x" * 500},
            {"role": "user", "content": "é"},
            {"role": "assistant", "content": "y" * 10},
        ]
    }
    statistics = check(rows(60, long, b"broken"), rows(20, start=100)).result.report.statistics
    assert (statistics.train_rows, statistics.characters_max) == (61, 511)
    assert statistics.messages_mean == round((80 * 2 + 3) / 81, 3)


@pytest.mark.parametrize("form", ["chat", "preference"])
@pytest.mark.parametrize("base", [entry.id for entry in CATALOG.values() if entry.architecture])
def test_rows_with_tools_are_refused_for_a_base_whose_tool_calls_the_server_cannot_read(check, base, form) -> None:
    question = [{"role": "user", "content": "Which part?"}]
    called = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    answer = {"role": "assistant", "content": None, "tool_calls": [called]}
    tools = {"tools": [{"type": "function", "function": {"name": "find"}}]}

    def row(number: int) -> dict[str, Any]:
        prompt = {"messages": [*question, {"role": "user", "content": str(number)}]}
        if form == "chat":
            return {"messages": [*prompt["messages"], answer], **(tools if number == 7 else {})}
        rejected = [{"role": "assistant", "content": "no"}]
        return {
            "input": {**prompt, **(tools if number == 7 else {})},
            "preferred_output": [answer],
            "non_preferred_output": rejected,
        }

    method = "method: {type: dpo}\n" if form == "preference" else ""
    recipe = f"base_model: {base}\nuse_case: parts\n{method}".encode()
    codes = check("\n".join(json.dumps(row(n)) for n in range(1, 31)).encode(), recipe=recipe).codes
    without_parser = (
        *("microsoft/Phi-4", "microsoft/Phi-4-mini-instruct", "microsoft/Phi-3.5-mini-instruct"),
        *("google/gemma-3-1b-it", "HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM3-3B"),
    )
    assert codes.get("tools_not_served") == ((7,) if base in without_parser else None)
