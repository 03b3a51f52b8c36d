"""An answer's reward: the weighted mean of its graders."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from training_job.methods.rewards import Rewards


def graders(*specs: dict[str, Any]) -> Any:
    from shared.domain.recipe import Reinforcement

    return Reinforcement.model_validate({"type": "reinforcement", "graders": specs}).graders


def test_a_reward_is_the_weighted_mean_of_the_graders() -> None:
    cites = {"name": "cites", "type": "regex", "pattern": "{{item.rule}}", "weight": 3}
    short = {"name": "short", "type": "regex", "pattern": "^.{0,20}$"}
    logged: dict[str, float] = {}
    rewards = Rewards(graders(cites, short), [{"rule": "R-1"}, {"rule": "R-2"}])
    found = rewards(["see R-1", "see R-1", "see R-2, as so often before"], [0, 1, 1], logged.__setitem__)
    assert found == [1.0, 0.25, 0.75]
    assert logged == {"reward_errors": 0.0}


BREAKS = "def grade(sample, item):\n    return 1 / (len(sample['output_text']) - 3)"


def test_an_answer_that_cannot_be_graded_has_no_reward_and_is_counted() -> None:
    logged: dict[str, float] = {}
    rewards = Rewards(graders({"name": "odd", "type": "python", "source": BREAKS}), [{}])
    found = rewards(["four", "abc", "four"], [0, 0, 0], logged.__setitem__)
    assert found == [1.0, None, 1.0]
    assert logged["reward_errors"] == pytest.approx(1 / 3)


def test_too_many_grader_errors_fail_the_run_and_quote_no_answer() -> None:
    rewards = Rewards(graders({"name": "odd", "type": "python", "source": BREAKS}), [{}])
    with pytest.raises(PermanentFailure) as failure:
        rewards.of(["abc"] * 6 + ["four"] * 44, [{}] * 50)
    assert failure.value.failure_class is FailureClass.RECIPE
    assert failure.value.problem.code == "grader_errors"
    assert failure.value.problem.param == "method.graders"
    assert "6 of 50 answers could not be graded: python_grader_runtime_error 6 times" in failure.value.problem.message
    assert "abc" not in failure.value.problem.message
