"""Whether a training grader is fit for use."""

from __future__ import annotations

import pytest

from shared.grading.calibration import calibrate, spearman


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 90], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12], -29 / 165),
        ([0, 0, 1, 1], [0, 1, 1, 1], 1 / 3**0.5),
        ([1, 1, 1], [1, 2, 3], None),
        ([1], [1], None),
    ],
)
def test_rank_correlation_is_spearmans_with_mean_ranks_for_ties(
    left: list[float], right: list[float], expected: float | None
) -> None:
    assert spearman(left, right) == (None if expected is None else pytest.approx(expected))


def test_a_grader_that_ranks_like_the_evaluation_and_fails_a_third_may_be_used() -> None:
    rewards = [0.2] * 10 + [0.6] * 10 + [0.9] * 10
    found = calibrate(rewards, [reward * reward for reward in rewards], pass_threshold=0.5)
    assert (found.failing, found.agreement, found.problems) == (pytest.approx(1 / 3), pytest.approx(1), ())
    assert calibrate(rewards, rewards).failing == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rewards", "evaluation", "problem"),
    [
        ([0.5] * 30, [0.5] * 30, "every answer earns 0.5"),
        ([1.0] * 28 + [0.0] * 2, [1.0] * 28 + [0.0] * 2, "7% of the base model's answers fail"),
        ([0.1] * 10 + [0.9] * 20, [0.9] * 10 + [0.1] * 20, "Spearman -1.00"),
        ([0.1] * 3 + [0.9] * 6, [0.1] * 3 + [0.9] * 6, "9 answers"),
    ],
)
def test_a_grader_that_is_not_fit_is_named(rewards: list[float], evaluation: list[float], problem: str) -> None:
    [found] = calibrate(rewards, evaluation, pass_threshold=0.5).problems
    assert problem in found
