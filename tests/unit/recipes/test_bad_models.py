"""Whole bad models are refused by the gate, and right answers are accepted: for each ready recipe, by the trainer's own
report. `docs/generator/recipes.json` holds each verdict; UPDATE_GOLDEN=1 writes it anew."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from docs.generator.recipes import VERDICTS
from tests.unit.recipes.bad_models import BAD_MODELS, bad_models, evaluated, held_out, lookup_score, questions
from tests.unit.recipes.ready import FULL, NAMES, SMALL

# As long as each takes.
MARKS = {"manufacturing-repair-small": [], "healthcare": [pytest.mark.slow, pytest.mark.timeout(1800)]}


def is_committed(recipe: str, part: str, found: dict[str, Any]) -> None:
    committed = json.loads(VERDICTS.read_text(encoding="utf-8"))
    if os.environ.get("UPDATE_GOLDEN"):
        committed.setdefault(recipe, {})[part] = found
        VERDICTS.write_text(json.dumps(committed, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert found == committed[recipe][part]


def graded(recipe: str, texts: list[str]) -> dict[str, Any]:
    """Score, and the checks that block, each once for all its slices."""
    result, verdict = evaluated(recipe, texts)
    blocking = [check.name for check in verdict.checks if check.blocks]
    refused_by = list(dict.fromkeys(":".join(name.split(":")[:2]) for name in blocking))
    return {"score": round(result.candidate.mean, 3), "refused_by": refused_by}


def right(recipe: str) -> list[str]:
    return [question.reference or "" for question in questions(recipe)]


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=MARKS.get(name, [pytest.mark.ci])) for name in NAMES],
)
def test_the_gate_refuses_every_bad_model_and_accepts_the_right_answers(recipe: str) -> None:
    found = {"right answers": graded(recipe, right(recipe))}
    assert found["right answers"]["refused_by"] == []
    for name, texts in bad_models(recipe):
        assert texts != right(recipe), name
        found[name] = graded(recipe, texts)
        assert found[name]["refused_by"], name
    is_committed(recipe, "models", found)


def test_one_case_with_a_wrong_label_does_not_decline_the_small_clinical_recipe_whatever_its_complaint() -> None:
    recipe, other = "healthcare-small", {"routine": "urgent", "urgent": "routine", "emergency": "urgent"}
    for complaint in {row["complaint"] for row in held_out(recipe)}:
        texts = right(recipe)
        case = [n for n, row in enumerate(held_out(recipe)) if row["complaint"] == complaint][:2]
        assert held_out(recipe)[case[0]]["acronyms"] == held_out(recipe)[case[1]]["acronyms"]
        for n in case:
            label = held_out(recipe)[n]["triage"]
            texts[n] = texts[n].replace(f'"{label}"', f'"{other[label]}"')
        assert graded(recipe, texts)["refused_by"] == [], complaint


def test_every_recipe_has_bad_models_of_its_own() -> None:
    assert sorted(BAD_MODELS) == NAMES
    assert min(len(BAD_MODELS[name]) for name in FULL) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("recipe", NAMES)
def test_a_lookup_answers_the_small_recipes_and_none_of_the_others(recipe: str) -> None:
    rows, score = lookup_score(recipe, len(questions(recipe)) // 20)
    # Where the score is of a probability (`brier`), always the mean share of failures scores about as much.
    assert (score > 0.5) == (recipe in SMALL or recipe == "manufacturing-failure")
    is_committed(recipe, "lookup", {"rows": rows, "score": round(score, 3)})
