"""The example of the rubric guide grades as the guide says."""

from __future__ import annotations

import json
import re

import yaml

from shared.domain.recipe import Evaluation
from shared.grading.engine import Engine
from tests.paths import ROOT

GUIDE = (ROOT / "docs/how-to/write-a-rubric.md").read_text()


def test_the_guides_right_answers_pass_and_its_wrong_ones_do_not() -> None:
    [recipe] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    evaluation = Evaluation.model_validate(yaml.safe_load(recipe)["evaluation"])
    right, wrong = (
        [json.loads(line) for line in block.splitlines()]
        for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    )
    with Engine(evaluation.graders) as engine:
        grades = engine.grade(
            [one["output_text"] for one in [*right, *wrong]], [one["item"] for one in [*right, *wrong]]
        )
    scores = [grade.score for grade in grades]
    assert scores[: len(right)] == [1.0] * len(right)
    assert evaluation.gate.min_score is not None
    assert all(score is not None and score < evaluation.gate.min_score for score in scores[len(right) :]), scores
    assert len(wrong) >= 5
