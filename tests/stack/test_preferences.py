"""Examples first, then preferences: the second run continues from the adapter of the first, through the pipeline."""

from __future__ import annotations

import json

import pytest

from tests.stack.local import LocalStack, rows, statuses
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

PROJECT = "workshop"
PAIRS = {
    **QUICK,
    "method": {
        "type": "dpo",
        "continue_from": "champion",
        "hyperparameters": {"n_epochs": 2, "batch_size": 8, "learning_rate": 0.0005},
    },
}


def pair(line: bytes) -> bytes:
    """The row's own answer is preferred to none."""
    row = json.loads(line)
    prompt, answer = row.pop("messages")
    return (
        json.dumps(
            {
                "input": {"messages": [prompt]},
                "preferred_output": [answer],
                "non_preferred_output": [{"role": "assistant", "content": "please ask the dealer"}],
                **row,
            }
        ).encode()
        + b"\n"
    )


def test_preferences_go_on_from_the_model_in_production_and_end_as_the_gate_says(local: LocalStack) -> None:
    local.drop_project(PROJECT, rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **QUICK)
    champion = local.wait(PROJECT, {"deployed"}, within_s=400)
    train, held_out = map(pair, rows("train.jsonl")[:64]), map(pair, rows("eval.jsonl")[:16])
    local.drop_project(PROJECT, list(train), list(held_out), **PAIRS)
    run = local.wait(PROJECT, {"deployed", "declined"}, runs=2, within_s=400)
    assert statuses(run)[:4] == ["received", "validated", "training", "evaluating"]
    assert run["recipe"]["continued_from"] == champion["id"]
    assert run["curated"]["format"] == "preference"
    assert run["verdict"]["passed"] == (run["status"] == "deployed")
    result = json.loads((local.root / "blobs" / "runs" / run["id"] / "result.json").read_text())
    assert result["metrics"]["measures"]["reward_accuracy"] > 0.9
    manifest = json.loads((local.root / "blobs" / "runs" / run["id"] / "model" / "manifest.json").read_text())
    assert manifest["continued_from"]["run"] == champion["id"]
