"""Answers that an expert calls wrong: no recipe's graders let one pass.

`wrong_answers.jsonl` beside a recipe holds one a line: `answer`, `why`, and the row it answers: `row` (number of the
row of eval.jsonl, from 1), `prompt` (of such a row), or `item` (fields that the graders read).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.generator.recipes import WRONG_ANSWERS as FILE
from docs.generator.recipes import wrong_answers
from tests.unit.recipes.ready import RECIPES

PARTS = sorted(path.parent for path in RECIPES.rglob(FILE))


def passing(part: Path) -> list[str]:
    """Why each answer that passes is wrong: it scores `min_score` or more, or no grader gives less than 0.5."""
    found = wrong_answers(part)
    assert all(one.why for one in found)
    return [one.why for one in found if one.passes]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(part.relative_to(RECIPES)))
def test_no_wrong_answer_of_an_expert_passes(part: Path) -> None:
    assert passing(part) == []


def recipe(folder: Path, wrong: list[Any], graders: str) -> Path:
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "lock out"}]
    files = {"eval.jsonl": [{"messages": turns, "level": "urgent"}], FILE: wrong}
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = f"evaluation: {{gate: {{min_score: 0.9}}, graders: [{graders}]}}"
    (folder / "recipe.yaml").write_text(f"base_model: droptune/tiny-llama\n{evaluation}\n")
    return folder


LOOSE = "{name: steps, type: string_check, operation: like}"
EXACT = "{name: steps, type: string_check, veto: true}, {name: easy, type: regex, weight: 99, pattern: o}"


@pytest.mark.parametrize(
    "row", [{"row": 1}, {"prompt": "How?"}, {"item": {"answer": "lock out"}}], ids=["by number", "by prompt", "its own"]
)
def test_a_wrong_answer_that_a_loose_grader_lets_pass_is_found(row: Any, tmp_path: Path) -> None:
    wrong = [{"answer": "do not lock out", "why": "denied", **row}, {"answer": "open it", "why": "another", **row}]
    assert passing(recipe(tmp_path, wrong, LOOSE)) == ["denied"]
    assert passing(recipe(tmp_path, wrong, EXACT)) == []


def test_a_low_score_alone_is_not_enough_where_no_grader_gives_0(tmp_path: Path) -> None:
    half = "{name: a, type: text_similarity, evaluation_metric: rouge_l}"
    assert passing(recipe(tmp_path, [{"answer": "lock", "why": "half", "row": 1}], half)) == ["half"]
