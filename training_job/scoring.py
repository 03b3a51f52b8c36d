"""Scores become means, gains and slices, with intervals by paired bootstrap. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import Gain, SampleAnswer, Score, SliceScore
from shared.domain.graders import Grader
from shared.grading import Engine, Grade, fields

DRAWS = 10_000
MAX_SAMPLES = 10
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One model's answers and scores `[rows]`, in the order of the rows; an answer that no grader could score has 0."""

    texts: list[str]
    scores: Scores
    grades: list[Grade]


def judge_answers(graders: tuple[Grader, ...], texts: list[str], items: list[dict[str, Any]]) -> Judged:
    """Score every answer.

    Raises PermanentFailure of class recipe when a grader names a field the rows do not have.
    """
    for number, item in enumerate(items, start=1):
        missing = fields(graders) - item.keys()
        if missing:
            raise PermanentFailure(
                FailureClass.RECIPE,
                "grader_field_missing",
                f"a grader names item.{min(missing)}, which held-out row {number} does not have",
                "evaluation.graders",
            )
    with Engine(graders) as engine:
        grades = engine.grade(texts, items)
    return Judged(texts, np.array([grade.score or 0.0 for grade in grades]), grades)


class Bootstrap:
    """Percentile intervals from one set of resamples, so that models are compared on the same draws.

    Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """

    def __init__(self, rows: int, confidence: float, seed: int) -> None:
        generator = np.random.default_rng(seed)
        # How often each row is drawn, [draws, rows]: a draw's mean is then one product.
        self._weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=DRAWS) / rows
        self._tails = [50 * (1 - confidence), 50 * (1 + confidence)]

    def interval(self, values: Scores) -> tuple[float, float]:
        """Lower and upper bound of the mean."""
        low, high = np.percentile(self._weights @ values, self._tails)
        return float(low), float(high)

    def score(self, values: Scores) -> Score:
        low, high = self.interval(values)
        return Score(mean=float(values.mean()), low=low, high=high, rows=len(values))

    def gain(self, over: Literal["base", "champion"], candidate: Scores, rival: Scores) -> Gain:
        low, high = self.interval(candidate - rival)
        return Gain(over=over, mean=float((candidate - rival).mean()), low=low, high=high)


def slice_scores(
    fields: tuple[str, ...], items: list[dict[str, Any]], models: dict[str, Judged]
) -> tuple[SliceScore, ...]:
    """Mean scores by value of each field; rows without the field are in no slice of it."""
    slices = []
    for field in fields:
        values = [None if item.get(field) is None else str(item[field]) for item in items]
        for value in sorted({value for value in values if value is not None}):
            inside = np.array([v == value for v in values])
            means = {name: float(judged.scores[inside].mean()) for name, judged in models.items()}
            slices.append(SliceScore(field=field, value=value, rows=int(inside.sum()), **means))
    return tuple(slices)


def pick_samples(
    numbers: list[int], asked: list[str], references: list[str], models: dict[str, Judged]
) -> list[SampleAnswer]:
    """Up to ten rows: what got worse first, then what was fixed, then the rest."""
    change = models["candidate"].scores - models["base"].scores
    worse = [i for i in range(len(numbers)) if change[i] < 0]
    fixed = [i for i in range(len(numbers)) if change[i] > 0]
    same = [i for i in range(len(numbers)) if change[i] == 0]
    half = MAX_SAMPLES // 2
    chosen = (worse[:half] + fixed[:half] + same + worse[half:] + fixed[half:])[:MAX_SAMPLES]
    return [
        SampleAnswer(
            row=numbers[i],
            prompt=asked[i],
            reference=references[i],
            **{name: judged.texts[i] for name, judged in models.items()},
        )
        for i in chosen
    ]
