"""Rows with tools, pairs whose answer calls one, prompts of several turns: each from a drop to a model in production.

What is asked of them is the same in training, evaluation and behind the endpoint: a rollout would end otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.stack.local import LocalStack, rows
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]

Row = dict[str, Any]
TOOLS = [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}]
CALL = {"id": "call00001", "type": "function", "function": {"name": "stock", "arguments": '{"hall": 2}'}}
LOOP = [
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "12 in stock", "tool_call_id": "call00001", "name": "stock"},
]


def with_tools(row: Row, number: int) -> Row:
    """Every second one answers with what a tool returned."""
    question, answer = row["messages"]
    return {**row, "messages": [question, *(LOOP if number % 2 else []), answer], "tools": TOOLS}


def pair(row: Row, number: int) -> Row:
    """Against numbers, which the base model often writes; the preferred answer may call a tool first."""
    question, _ = row.pop("messages")
    preferred = {"role": "assistant", "content": "papa tango, lima kilo"}
    return {
        **row,
        "input": {"messages": [question], "tools": TOOLS},
        "preferred_output": [*LOOP, preferred] if number % 2 else [preferred],
        "non_preferred_output": [{"role": "assistant", "content": "83 part, 6, 60, 69"}],
    }


def prompt(row: Row, number: int) -> Row:
    """Several turns; the last is the user's or the result of a tool."""
    question, _ = row.pop("messages")
    before = [{"role": "user", "content": "Good morning."}, {"role": "assistant", "content": "Which part?"}]
    again = [{"role": "assistant", "content": "12 in stock"}, {"role": "user", "content": "Where is it?"}]
    return {**row, "messages": [*before, question, *LOOP] if number % 2 else [question, *again], "tools": TOOLS}


def method_of(type: str, graders: list[Row], **hyperparameters: Any) -> Row:
    settings = {"n_epochs": 2, **hyperparameters}
    evaluation = {**QUICK["evaluation"], "graders": graders}
    return {"method": {"type": type, "hyperparameters": settings}, "evaluation": evaluation}


# Each is easily learned by the tiny base model, which does it on about half of the rows.
DIGITS = {"type": "regex", "pattern": r"\d"}
WORDS = {"name": "words", "type": "multi", "graders": {"digits": DIGITS}, "calculate_output": "1 - digits"}
LETTER = {"name": "letter", "type": "regex", "pattern": "a"}
HAS_LETTER = {"name": "has", "type": "string_check", "operation": "like", "reference": "a"}
REINFORCEMENT = method_of(
    "reinforcement",
    [HAS_LETTER],
    batch_size=8,
    n_epochs=5,
    learning_rate=7e-4,
    rollouts_per_prompt=16,
    max_new_tokens=24,
)
METHODS: dict[str, tuple[Callable[[Row, int], Row], Row]] = {
    "supervised": (with_tools, QUICK),
    "dpo": (pair, method_of("dpo", [WORDS], batch_size=8, learning_rate=0.002)),
    "reinforcement": (prompt, {**REINFORCEMENT, "method": {**REINFORCEMENT["method"], "graders": [LETTER]}}),
}


@pytest.mark.parametrize("method", METHODS)
def test_it_ends_deployed(local: LocalStack, method: str) -> None:
    made, recipe = METHODS[method]
    train, held_out = (
        [json.dumps(made(json.loads(line), n)).encode() + b"\n" for n, line in enumerate(lines)]
        for lines in (rows("train.jsonl")[:96], rows("eval.jsonl")[:60])
    )
    local.drop_project(method, train, held_out, **recipe)
    run = local.wait(method, {"deployed"}, within_s=1300)
    lines = (local.root / "blobs" / "runs" / run["id"] / "evaluation" / "rows.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert prompts[1].endswith("tool: 12 in stock")
    assert [event for event in local.events(run["id"]) if "rollback" in event["type"]] == []
