"""`recipes.md`: what the graders and the gate of each ready recipe refuse."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from docs.generator import markdown
from shared.domain.prompts import prompt_of
from shared.domain.recipe import Evaluation, Recipe
from shared.grading.engine import Engine

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
VERDICTS = Path(__file__).with_name("recipes.json")
WRONG_ANSWERS = "wrong_answers.jsonl"
Row = dict[str, Any]


class Caught(NamedTuple):
    """A wrong answer: why it is wrong, which graders see it (below 0.5, with a veto below 1), and whether it passes."""

    why: str
    by: list[str]
    passes: bool


def page() -> str:
    verdicts = json.loads(VERDICTS.read_text(encoding="utf-8"))
    parts = {name: RECIPES / name for name in verdicts if (RECIPES / name / WRONG_ANSWERS).exists()}
    return markdown.page(
        "recipes.md",
        verdicts={name: found | {"models": _models(found["models"])} for name, found in verdicts.items()},
        wrong={name: wrong_answers(part) for name, part in parts.items()},
        graders={name: evaluation_of(part).graders for name, part in parts.items()},
    )


def wrong_answers(part: Path) -> list[Caught]:
    """Each line of a recipe's `wrong_answers.jsonl`, graded as its evaluation grades."""
    evaluation, held_out, wrong = evaluation_of(part), _rows(part / "eval.jsonl"), _rows(part / WRONG_ANSWERS)
    with Engine(evaluation.graders) as engine:
        grades = engine.grade([one["answer"] for one in wrong], [_item(one, held_out) for one in wrong])
    found = []
    for one, grade in zip(wrong, grades, strict=True):
        if grade.score is None:
            raise ValueError(f"{part.name}: {one['why']}: {grade.errors}")
        by = [each.name for each in evaluation.graders if grade.parts[each.name] < (1 if each.veto else 0.5)]
        found.append(Caught(one["why"], by, not by or grade.score >= evaluation.gate.min_score))
    return found


def evaluation_of(part: Path) -> Evaluation:
    return Recipe.model_validate(yaml.safe_load((part / "recipe.yaml").read_text(encoding="utf-8"))).evaluation


def _rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _item(wrong: Row, held_out: list[Row]) -> Row:
    """What the graders read: the fields of the row with that number, or that prompt, or the line's own."""
    if "item" in wrong:
        return dict(wrong["item"])
    [row] = [held_out[wrong["row"] - 1]] if "row" in wrong else [r for r in held_out if _asks(r, wrong["prompt"])]
    reference = {"answer": row["messages"][-1]["content"]} if row["messages"][-1]["role"] == "assistant" else {}
    prompt = prompt_of(row).item()
    return {name: value for name, value in row.items() if name != "messages"} | prompt | reference


def _asks(row: Row, prompt: str) -> bool:
    return bool([turn["content"] for turn in row["messages"] if turn["role"] == "user"][-1] == prompt)


def _models(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """The right answers, then those without a model, then the models with one fault."""
    return sorted(found.items(), key=lambda each: (each[0] != "right answers", "training" not in each[0]))
