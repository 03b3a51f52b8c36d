"""`droptune grade`: graders tried on answers of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., int]

RECIPE = """
evaluation:
  graders:
    - {name: exact, type: string_check, weight: 3}
    - {name: code, type: regex, pattern: "^[A-Z]+-{{item.size}}$"}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def answers(folder: Path, *lines: object) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_are_graded_one_a_line(
    droptune: Cli, capsys: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path
) -> None:
    item = {"answer": "SC-40", "size": 40}
    file = answers(tmp_path, {"output_text": "SC-40", "item": item}, {"output_text": "HN-40", "item": item})
    assert droptune("grade", str(recipe), str(file), "--json") == 0
    assert [(one["score"], one["sub_scores"]) for one in json.loads(capsys.readouterr().out)] == [
        (1, {"exact": 1, "code": 1}),
        (0.25, {"exact": 0, "code": 1}),
    ]
    assert droptune("grade", str(recipe), str(file)) == 0
    assert "0.250" in capsys.readouterr().out


def test_a_grader_that_fails_is_no_zero_and_exit_code_1(
    droptune: Cli, capsys: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path
) -> None:
    file = answers(tmp_path, {"output_text": "SC-40", "item": {"answer": "SC-40"}})
    assert droptune("grade", str(recipe), str(file)) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 none exact 1.000, code: invalid_variable_error: the row has no item.size" in shown


def test_a_recipe_or_a_line_that_cannot_be_used_is_named_with_exit_code_1(
    droptune: Cli, capsys: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE.replace("^[A-Z]", "^([A-Z]"))
    assert droptune("grade", str(recipe), str(answers(tmp_path, {"output_text": "x"}))) == 1
    assert "evaluation.graders[1].pattern" in capsys.readouterr().err
    assert droptune("grade", str(recipe), str(answers(tmp_path, {"answer": "x"}))) == 1
    assert "answers.jsonl, line 1: Field required" in capsys.readouterr().err
