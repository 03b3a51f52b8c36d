"""`recipes.md`: what the graders and the gate of each ready recipe refuse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from docs.generator import markdown
from shared.domain.recipe import Evaluation, Recipe
from shared.grading.engine import Engine

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
VERDICTS = Path(__file__).with_name("recipes.json")
WRONG_ANSWERS = "wrong_answers.jsonl"
Row = dict[str, Any]


class Caught(NamedTuple):
    """A wrong answer: why it is wrong, which graders see it (below 0.5, with a veto below 1), and whether it passes."""

    why: str
    by: frozenset[str]
    passes: bool


def page() -> str:
    return markdown.page("recipes.md", sections="\n\n".join(_sections()))


def wrong_answers(part: Path) -> list[Caught]:
    """Each line of a recipe's `wrong_answers.jsonl`, graded as its evaluation grades."""
    evaluation, held_out, wrong = evaluation_of(part), _rows(part / "eval.jsonl"), _rows(part / WRONG_ANSWERS)
    with Engine(evaluation.graders) as engine:
        grades = engine.grade([one["answer"] for one in wrong], [_item(one, held_out) for one in wrong])
    found = []
    for one, grade in zip(wrong, grades, strict=True):
        if grade.score is None:
            raise ValueError(f"{part.name}: {one['why']}: {grade.errors}")
        by = frozenset(each.name for each in evaluation.graders if grade.parts[each.name] < (1 if each.veto else 0.5))
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
    return {name: value for name, value in row.items() if name != "messages"} | reference


def _asks(row: Row, prompt: str) -> bool:
    return bool([turn["content"] for turn in row["messages"] if turn["role"] == "user"][-1] == prompt)


def _sections() -> Iterator[str]:
    for recipe, found in json.loads(VERDICTS.read_text(encoding="utf-8")).items():
        yield f"## {recipe}"
        yield f"[What it is, and is not](../../recipes/{recipe}/README.md)"
        yield markdown.table(("answers", "score", "the gate"), _models(found))
        if (RECIPES / recipe / WRONG_ANSWERS).exists():
            yield _wrong_answers(RECIPES / recipe)


def _models(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The right answers, then those without a model, then the models with one fault."""
    known = list(found["models"].items())
    known.sort(key=lambda each: (each[0] != "right answers", "training" not in each[0]))
    for name, model in known:
        by = markdown.listed(model["refused_by"])
        yield name, f"{model['score']:.3f}", f"refused by {by}" if by else "accepted"
        if name.endswith("training row") and "lookup" in found:
            lookup = found["lookup"]
            yield f"lookup in training rows, of {lookup['rows']} held-out rows", f"{lookup['score']:.3f}", ""


def _wrong_answers(part: Path) -> str:
    wrong = wrong_answers(part)
    rows = [(f"`{each.name}`", str(sum(each.name in one.by for one in wrong))) for each in evaluation_of(part).graders]
    head = (f"grader, of {len(wrong)} wrong answers", "caught")
    return markdown.table(head, [*rows, ("passed all", str(sum(one.passes for one in wrong)))])
