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


def groups_of(rewards: list[float], evaluation: list[float], size: int = 3) -> list[list[tuple[float, float]]]:
    """Answers dealt out to prompts, so that a prompt's answers differ where the whole does."""
    pairs = list(zip(rewards, evaluation, strict=True))
    return [pairs[start :: len(pairs) // size] for start in range(len(pairs) // size)]


def test_a_grader_that_ranks_like_the_evaluation_and_fails_a_third_may_be_used() -> None:
    rewards = [0.2] * 10 + [0.6] * 10 + [0.9] * 10
    found = calibrate(groups_of(rewards, [reward * reward for reward in rewards]))
    assert (found.problems, found.warnings) == ((), ())
    assert (found.answers, found.pass_score, found.equal_groups) == (30, 0.6, 0)
    assert found.failing == pytest.approx(1 / 3)
    assert found.agreement == pytest.approx(1)
    assert found.reward_mean == pytest.approx(17 / 30)


def test_a_hard_task_is_trained_on_with_a_warning() -> None:
    rewards = [0.0] * 20 + [1.0] * 10
    found = calibrate(groups_of(rewards, rewards))
    assert found.problems == ()
    assert found.warnings == ("67% of the answers fail at 1, 25% to 50% should",)


def test_an_evaluation_that_agrees_less_than_is_wanted_is_a_warning() -> None:
    rewards, evaluation = [0.0] * 12 + [1.0] * 18, [0.0] * 15 + [1.0] * 12 + [0.0] * 3
    found = calibrate(groups_of(rewards, evaluation))
    assert found.problems == ()
    assert found.warnings == ("Spearman 0.67 with the evaluation's graders, 0.8 is expected",)


@pytest.mark.parametrize(
    ("rewards", "evaluation", "problem"),
    [
        ([0.5] * 30, [0.5] * 30, "the answers to each of 10 prompts earn equal rewards"),
        ([0.1, 0.9] * 5 + [0.1, 0.9] * 5 + [0.1, 0.9] * 5, [0.0] * 30, "the answers to each of 10 prompts earn equal"),
        ([1.0] * 29 + [0.0], [1.0] * 29 + [0.0], "3% of the answers fail at 1"),
        ([0.0] * 29 + [1.0], [0.0] * 29 + [1.0], "97% of the answers fail at 1"),
        ([0.1] * 10 + [0.9] * 20, [0.9] * 10 + [0.1] * 20, "Spearman -1.00"),
        ([0.1] * 10 + [0.9] * 20, [0.5] * 30, "the evaluation's graders give every answer the same score"),
        ([0.1] * 3 + [0.9] * 6, [0.1] * 3 + [0.9] * 6, "9 answers"),
    ],
)
def test_a_grader_that_is_not_fit_is_named(rewards: list[float], evaluation: list[float], problem: str) -> None:
    [found] = calibrate(groups_of(rewards, evaluation)).problems
    assert problem in found
