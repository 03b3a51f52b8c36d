"""Is a training grader fit for use? Its scores of the base model's answers, before a reinforcement run may start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties sharing the mean of their ranks; None where a side does not vary.

    Raises ValueError for different lengths.
    """
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values against {len(right)}")
    if len(left) < 2:
        return None
    try:
        return correlation(_ranks(left), _ranks(right))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            ranks[i] = (start + end - 1) / 2 + 1
        start = end
    return ranks


@dataclass(frozen=True)
class Calibration:
    """`failing`: share of answers below `pass_threshold`. `agreement`: Spearman with the evaluation's graders."""

    answers: int
    pass_threshold: float
    failing: float
    agreement: float | None
    problems: tuple[str, ...]


# microsoft/azure-skills, finetuning: 25-50 % of the base model's answers should fail; below 0.6 stop, 0.8 is wanted.
FAILING = (0.25, 0.5)
MIN_AGREEMENT = 0.6
MIN_ANSWERS = 20


def calibrate(
    rewards: Sequence[float], evaluation: Sequence[float], pass_threshold: float | None = None
) -> Calibration:
    """Judge a training grader by its rewards and the evaluation's scores of the same answers of the base model.

    `pass_threshold`: a reward from which an answer passes; by default the reward that lets between a quarter and a half
    fail, if any does. `problems` is empty if the grader may be used. Raises ValueError for different lengths.
    """
    agreement = spearman(rewards, evaluation)
    ordered = sorted(rewards)
    if pass_threshold is None:
        pass_threshold = ordered[math.ceil(len(ordered) * sum(FAILING) / 2)] if ordered else 0.0
    failing = sum(reward < pass_threshold for reward in rewards) / max(1, len(rewards))
    found = []
    if len(rewards) < MIN_ANSWERS:
        found.append(f"{len(rewards)} answers, at least {MIN_ANSWERS} are needed to judge a grader")
    elif len(set(rewards)) == 1:
        found.append(f"every answer earns {rewards[0]:g}: the grader teaches nothing")
    elif not FAILING[0] <= failing <= FAILING[1]:
        found.append(f"{failing:.0%} of the base model's answers fail at {pass_threshold:g}, 25 % to 50 % should")
    if agreement is not None and agreement < MIN_AGREEMENT:
        found.append(
            f"it ranks answers unlike the evaluation's graders (Spearman {agreement:.2f}, at least {MIN_AGREEMENT})"
        )
    return Calibration(len(rewards), pass_threshold, failing, agreement, tuple(found))
