"""Is a training grader fit for use? Its scores of the base model's answers, before a reinforcement run may start."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where a side does not vary."""
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values against {len(right)}")
    try:
        return correlation(_ranks(left), _ranks(right))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) + 1) / 2 for value in values]


# Published for reinforcement tuning with graders (microsoft/azure-skills, finetuning): a quarter to a half of the
# starting model's answers should fail; rank correlation with the evaluation below 0.6 stops a run, below 0.8 warns.
FAILING_LOW, FAILING_HIGH = 0.25, 0.5
AGREEMENT_MIN, AGREEMENT_WARN = 0.6, 0.8
# Ours: beyond these nearly every group of answers earns equal rewards, and equal rewards teach nothing.
FAILING_MIN, FAILING_MAX = 0.05, 0.95
ANSWERS_MIN = 20
Group = Sequence[tuple[float, float]]  # reward and evaluation score of each answer to one prompt


@dataclass(frozen=True)
class Calibration:
    """What the starting model's answers earned; `problems` forbid a run. `failing`: share with a reward below
    `pass_score`, which brings it nearest to the published bounds. `equal_groups`: share of prompts whose answers all
    earned the same. `agreement`: rank correlation of reward and evaluation score, None where one does not vary."""

    answers: int
    reward_mean: float
    pass_score: float
    failing: float
    equal_groups: float
    agreement: float | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def calibrate(groups: Sequence[Group]) -> Calibration:
    """Judge a training grader by what answers of the starting model earned, before it is trained on."""
    rewards = [reward for group in groups for reward, _ in group]
    agreement = spearman(rewards, [score for group in groups for _, score in group])
    pass_score, failing = _pass_score(rewards)
    equal = sum(len({reward for reward, _ in group}) == 1 for group in groups) / max(1, len(groups))
    problems, warnings = [], []
    if len(rewards) < ANSWERS_MIN:
        problems.append(f"{len(rewards)} answers, at least {ANSWERS_MIN} are needed to judge a grader")
    elif equal == 1:
        problems.append(f"the answers to each of {len(groups)} prompts earn equal rewards: the grader teaches nothing")
    elif not FAILING_MIN <= failing <= FAILING_MAX:
        problems.append(f"{failing:.0%} of the answers fail at {pass_score:g}: hardly any two rewards differ")
    elif agreement is None:
        problems.append("the evaluation's graders give every answer the same score, so agreement cannot be told")
    elif agreement < AGREEMENT_MIN:
        problems.append(
            f"it ranks answers unlike the evaluation's graders (Spearman {agreement:.2f}, at least {AGREEMENT_MIN})"
        )
    elif agreement < AGREEMENT_WARN:
        warnings.append(f"Spearman {agreement:.2f} with the evaluation's graders, {AGREEMENT_WARN} is expected")
    if not FAILING_LOW <= failing <= FAILING_HIGH:
        warnings.append(
            f"{failing:.0%} of the answers fail at {pass_score:g}, {FAILING_LOW:.0%} to {FAILING_HIGH:.0%} should"
        )
    mean = sum(rewards) / max(1, len(rewards))
    return Calibration(len(rewards), mean, pass_score, failing, equal, agreement, tuple(problems), tuple(warnings))


def _pass_score(rewards: Sequence[float]) -> tuple[float, float]:
    """The reward from which an answer passes, and the share that fails; below the lowest none does."""
    shares = {value: sum(reward < value for reward in rewards) / len(rewards) for value in sorted(set(rewards))[1:]}
    middle = (FAILING_LOW + FAILING_HIGH) / 2
    return min(shares.items(), key=lambda found: abs(found[1] - middle), default=(0.0, 0.0))
