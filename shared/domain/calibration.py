"""Is a reward worth training on? Judged on answers of the model before a reinforcement run, not after it.

Thresholds 25 to 50 %, 0.6 and 0.8 are those Microsoft publishes for reinforcement tuning with graders; SHARE_MIN
and SHARE_MAX are ours: beyond them nearly every group of answers earns equal rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, correlation

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.errors import FailureClass, PermanentFailure

FAILING_MIN, FAILING_MAX = 0.25, 0.50
SHARE_MIN, SHARE_MAX = 0.05, 0.95
AGREEMENT_MIN, AGREEMENT_FINE = 0.6, 0.8


class Calibration(BaseModel):
    """What the starting model's answers to a sample of prompts earned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int
    answers: int
    reward_mean: float
    share_failing: float = Field(description="answers with a reward below method.pass_score")
    share_equal_groups: float = Field(description="prompts whose answers all earned the same reward")
    agreement: float = Field(description="Spearman's rank correlation of reward and evaluation score")
    warnings: tuple[str, ...] = ()


Earned = Sequence[tuple[float, float]]  # reward and evaluation score of each answer to one prompt


def calibrate(groups: Sequence[Earned], pass_score: float) -> Calibration:
    """Judge what the answers to some prompts earned, a group a prompt.

    Raises PermanentFailure of class recipe: `nothing_to_learn`, `reward_too_hard`, `reward_too_easy`,
    `graders_disagree`.
    """
    earned = [reward for group in groups for reward, _ in group]
    scored = [score for group in groups for _, score in group]
    failing = sum(reward < pass_score for reward in earned) / len(earned)
    equal = sum(len({reward for reward, _ in group}) == 1 for group in groups) / len(groups)
    if equal == 1:
        raise _refusal(
            "nothing_to_learn",
            f"all answers to each of {len(groups)} prompts earn the same reward, so none is preferred to another",
        )
    if failing > SHARE_MAX:
        raise _refusal("reward_too_hard", f"{failing:.0%} of {len(earned)} answers fail: tune with examples first")
    if failing < SHARE_MIN:
        raise _refusal("reward_too_easy", f"{failing:.0%} of {len(earned)} answers fail: the model can do it already")
    agreement = spearman(earned, scored)
    if agreement is None or agreement < AGREEMENT_MIN:
        found = "none, for the evaluation gives every answer one score" if agreement is None else f"{agreement:.2f}"
        raise _refusal(
            "graders_disagree",
            f"rank correlation of reward and evaluation score over {len(earned)} answers: {found}; at least "
            f"{AGREEMENT_MIN} is asked for, or the run would learn what the evaluation does not want",
        )
    return Calibration(
        prompts=len(groups),
        answers=len(earned),
        reward_mean=sum(earned) / len(earned),
        share_failing=failing,
        share_equal_groups=equal,
        agreement=agreement,
        warnings=tuple(_warnings(failing, agreement)),
    )


def _warnings(failing: float, agreement: float) -> list[str]:
    found = []
    if not FAILING_MIN <= failing <= FAILING_MAX:
        found.append(
            f"{failing:.0%} of the answers fail; {FAILING_MIN:.0%} to {FAILING_MAX:.0%} is best: move method.pass_score"
        )
    if agreement < AGREEMENT_FINE:
        found.append(f"reward and evaluation rank answers alike to {agreement:.2f}; {AGREEMENT_FINE} is fine")
    return found


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Rank correlation, equal values sharing their mean rank; None where one side is constant."""
    try:
        return correlation(_ranks(left), _ranks(right))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    below_and_equal = {value: (sum(v < value for v in values), values.count(value)) for value in set(values)}
    return [below + (equal + 1) / 2 for below, equal in map(below_and_equal.__getitem__, values)]


def _refusal(code: str, message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, code, message, "method.graders")
