"""Rewards are compared with the evaluation's scores before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from shared.domain.evaluation import Judges
from tests.judge_server import Reply, serve_judge
from tests.unit.training_job.methods.support import EVALUATION_GRADERS, GRADERS, recipe_of
from training_job.job import runtime


def test_the_calibration_is_kept_with_the_model(rewarded: Any) -> None:
    manifest = json.loads((rewarded.output / "model" / "manifest.json").read_text())
    found = manifest["calibration"]
    assert found["answers"] == 128
    assert found["agreement"] == pytest.approx(1.0)
    assert 0.05 < found["failing"] < 0.95
    assert found["problems"] == []
    assert manifest["merge"]["rows"] == 8


JUDGE = {
    "name": "liked",
    "type": "score_model",
    "endpoint": "judge",
    "input": [{"role": "user", "content": "Answer: {{sample.output_text}}"}],
}


@pytest.mark.ci
@pytest.mark.parametrize(
    ("graders", "evaluation_graders"),
    [([JUDGE], EVALUATION_GRADERS), pytest.param(GRADERS, [JUDGE], marks=pytest.mark.slow)],
)
def test_a_judge_rewards_or_examines_and_is_calibrated_like_any_other_grader(
    graders: Any, evaluation_graders: Any, grpo: Callable[..., Any], as_job: Any, tmp_path: Path
) -> None:
    def scores_the_letter_e(requests: str) -> Reply:
        return Reply(json.dumps({"score": float("e" in requests.split("\n")[1]), "reason": "it has an e, or not"}))

    run, file = grpo(tmp_path, recipe_of(graders, evaluation_graders), total_steps=2), tmp_path / "judges.json"
    with serve_judge(scores_the_letter_e) as server:
        as_job(server)
        file.write_text(Judges(judges=(server.endpoint(),)).model_dump_json())
        assert run.train("--judges", str(file)) == 0
        assert run.train() == runtime.EXIT_CODES[FailureClass.CODE]
    assert run.result().problem.code == "no_judges"
    manifest = json.loads((run.output / "model" / "manifest.json").read_text())
    assert (manifest["calibration"]["answers"], manifest["calibration"]["agreement"]) == (128, pytest.approx(1.0))
    assert all(point["reward_errors"] == 0 for point in run.metrics() if "loss" in point)


UNFIT = {
    "nothing is ever right": ([{"name": "never", "type": "regex", "pattern": "^$"}], None, "earn equal rewards"),
    "the evaluation wants the opposite": (
        None,
        [
            {
                "name": "has_not",
                "type": "python",
                "source": "def grade(sample, item): return float('e' not in sample['output_text'])",
            }
        ],
        "Spearman -1.00",
    ),
    "the evaluation tells nothing apart": (
        None,
        [{"name": "exact", "type": "string_check", "reference": "{{item.answer}}"}],
        "every answer the same score",
    ),
}


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("name", UNFIT)
def test_a_reward_that_is_not_fit_is_refused_before_the_first_step(
    name: str, grpo: Callable[..., Any], tmp_path: Path
) -> None:
    graders, evaluation_graders, says = UNFIT[name]
    run = grpo(tmp_path, recipe_of(graders, evaluation_graders))
    assert run.train() == runtime.EXIT_CODES[FailureClass.RECIPE]
    result = run.result()
    assert (result.problem.code, result.problem.param) == ("reward_not_fit", "method.graders")
    assert says in result.problem.message
    assert result.metrics.last_step == 0
    assert not (run.output / "model").exists()
    assert says in json.loads((run.output / "calibration.json").read_text())["problems"][0]
