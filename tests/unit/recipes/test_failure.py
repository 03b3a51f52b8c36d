"""Failure prediction: its split, and the comparison of its answers with failure rates."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from shared.grading.engine import Engine
from tests.unit.recipes.ready import RECIPES, recipe_of, rows_of

FOLDERS = [RECIPES / "manufacturing-failure", RECIPES / "manufacturing-failure-small"]
COMPARE = runpy.run_path(str(FOLDERS[0] / "compare.py"))

EACH = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def compared(folder: Path, rows: str, capsys: Any) -> str:
    COMPARE["main"](rows, str(folder))
    return str(capsys.readouterr().out)


def evaluation(folder: Path, answers: list[str]) -> str:
    """The answers file of an evaluation: the candidate gives `answers`."""
    lines = ({"row": n, "answers": {"candidate": answer}} for n, answer in enumerate(answers, start=1))
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(file)


@EACH
def test_no_held_out_asset_is_in_training(folder: Path) -> None:
    train, held_out = ({row["asset"] for row in rows_of(folder / f"{part}.jsonl")} for part in ("train", "eval"))
    assert train
    assert held_out
    assert not train & held_out


@EACH
def test_the_reference_answers_beat_both_rates_and_are_not_certain(folder: Path, capsys: Any) -> None:
    text = compared(folder, "", capsys)
    assert text.count("the model beats it") == 2
    assert "Brier score of the model: 0.0000" not in text


@EACH
def test_answers_that_read_no_signs_do_not_beat_the_rate(folder: Path, tmp_path: Path, capsys: Any) -> None:
    [of_type, _] = COMPARE["rates"](folder).values()
    rows = evaluation(tmp_path, [f"Probability: {rate + 0.05:.2f}" for rate in of_type])
    text = compared(folder, rows, capsys)
    assert "Brier score of rate of the type: " in text
    assert "does not beat it" in text.split("rate of the type")[1].splitlines()[0]


@EACH
def test_models_that_read_no_signs_stay_below_the_floor_of_the_gate(folder: Path) -> None:
    rows, evaluation = rows_of(folder / "eval.jsonl"), recipe_of(folder).evaluation
    right = [row["messages"][-1]["content"] for row in rows]
    models = {name: [f"Probability: {rate:.2f}" for rate in given] for name, given in COMPARE["rates"](folder).items()}
    models |= {"never": ["Probability: 0.00"] * len(rows), "of other rows": right[7:] + right[:7]}
    with Engine(evaluation.graders) as engine:
        means = {name: mean(grade.score or 0 for grade in engine.grade(texts, rows)) for name, texts in models.items()}
    assert not {name for name, score in means.items() if score >= evaluation.gate.min_score}


@EACH
def test_an_answer_without_one_number_counts_as_a_half(folder: Path, tmp_path: Path, capsys: Any) -> None:
    count = len(rows_of(folder / "eval.jsonl"))
    text = compared(folder, evaluation(tmp_path, ["Probability: 0.05 or Probability: 0.60"] * count), capsys)
    assert f"without a number, as 0.5: {count}" in text
    assert "Brier score of the model: 0.2500" in text
    assert text.count("does not beat it") == 2
