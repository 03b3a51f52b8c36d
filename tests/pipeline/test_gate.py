"""The gate: what may replace the model in production."""

from __future__ import annotations

import pytest

from shared.domain.evaluation import EvaluationResult, Gain, Score, SliceScore, judge
from shared.domain.recipe import Gate


def score(mean: float, rows: int = 100) -> Score:
    return Score(mean=mean, low=mean - 0.05, high=mean + 0.05, rows=rows)


def result(**changes: object) -> EvaluationResult:
    base = {
        "base": score(0.1),
        "candidate": score(0.9),
        "gains": (Gain(over="base", mean=0.8, low=0.7, high=0.9),),
        "answers_differ": 0.9,
        "template_sha256": "0" * 64,
    }
    return EvaluationResult.model_validate({**base, **changes})


def failed(evaluation: EvaluationResult, gate: Gate | None = None) -> list[str]:
    return [check.name for check in judge(evaluation, gate or Gate()).checks if not check.passed]


def test_a_gain_beyond_its_interval_passes() -> None:
    assert failed(result()) == []
    assert judge(result(), Gate()).passed


@pytest.mark.parametrize(
    ("changes", "gate", "check"),
    [
        ({"gains": (Gain(over="base", mean=0.1, low=0.0, high=0.2),)}, Gate(), "gain_over_base"),
        (
            {"gains": (Gain(over="base", mean=0.1, low=0.04, high=0.2),)},
            Gate(min_gain=0.05),
            "gain_over_base",
        ),
        ({"gains": (Gain(over="champion", mean=0.0, low=-0.1, high=0.1),)}, Gate(), "gain_over_champion"),
        ({"candidate": score(0.9, rows=19)}, Gate(), "enough_rows"),
        ({}, Gate(min_score=0.95), "floor"),
        ({"answers_differ": 0.0}, Gate(), "adapter_acts"),
    ],
)
def test_each_check_blocks_by_itself(changes: dict[str, object], gate: Gate, check: str) -> None:
    assert failed(result(**changes), gate) == [check]


def test_a_slice_is_held_against_the_champion_where_there_is_one() -> None:
    part = {"field": "unit", "value": "4", "rows": 30, "base": 0.2, "candidate": 0.5}
    assert failed(result(slices=(SliceScore.model_validate(part),))) == []
    worse = SliceScore.model_validate({**part, "champion": 0.6})
    assert failed(result(slices=(worse,))) == ["slice:unit=4"]


def test_a_slice_may_fall_by_no_more_than_the_gate_allows() -> None:
    part = SliceScore(field="unit", value="4", rows=30, base=0.55, candidate=0.5)
    assert failed(result(slices=(part,)), Gate(max_regression=0.05)) == []
    assert failed(result(slices=(part,)), Gate(max_regression=0.04)) == ["slice:unit=4"]
