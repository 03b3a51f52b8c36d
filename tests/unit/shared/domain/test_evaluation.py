"""The gate: what may replace the model in production."""

from __future__ import annotations

import pytest

from shared.domain.evaluation import (
    BaselineName,
    BaselineScore,
    EvaluationResult,
    FloorScore,
    Gain,
    GeneralScore,
    GradingError,
    Score,
    Share,
    SliceScore,
    confidence_of,
    gate_verdict,
    percent,
    wilson,
)
from shared.domain.graders import Regex, StringCheck
from shared.domain.recipe import Evaluation, Gate


def score(mean: float, rows: int = 100) -> Score:
    return Score(mean=mean, low=mean - 0.05, high=mean + 0.05, rows=rows)


def result(**changes: object) -> EvaluationResult:
    base = {
        "base": score(0.1),
        "candidate": score(0.9),
        "gains": (Gain(over="base", mean=0.8, low=0.7, high=0.9),),
        "answers_differ": 0.9,
        "template_sha256": "0" * 64,
        "base_template_sha256": "0" * 64,
    }
    return EvaluationResult.model_validate({**base, **changes})


def failed(evaluation: EvaluationResult, gate: Gate | None = None) -> list[str]:
    return [check.name for check in gate_verdict(evaluation, Evaluation(gate=gate or Gate())).checks if check.blocks]


def test_a_gain_beyond_its_interval_passes() -> None:
    assert failed(result()) == []
    assert gate_verdict(result(), Evaluation()).passed


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
        ({"candidate": score(0.9, rows=19)}, Gate(), "min_rows"),
        ({}, Gate(min_score=0.95), "min_score"),
        ({"answers_differ": 0.0}, Gate(), "adapter_has_effect"),
    ],
)
def test_each_check_blocks_by_itself(changes: dict[str, object], gate: Gate, check: str) -> None:
    assert failed(result(**changes), gate) == [check]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"base_template_sha256": "1" * 64}, "same_template"),
        (
            {
                "errors": (
                    GradingError(
                        model="base", grader="own", code="other_error", message="no score", count=2, rows=(3, 9)
                    ),
                )
            },
            "graders_worked",
        ),
    ],
)
def test_what_makes_scores_worthless_blocks(changes: dict[str, object], check: str) -> None:
    assert failed(result(**changes)) == [check]


def gain(mean: float, high: float) -> Gain:
    return Gain(over="base", mean=mean, low=2 * mean - high, high=high)


@pytest.mark.parametrize(
    ("change", "blocks"),
    [
        (gain(-0.10, -0.02), True),
        (gain(-0.10, 0.01), False),  # its interval holds 0: noise
        (gain(-0.04, -0.02), False),  # tolerated
        (gain(0.10, 0.20), False),
    ],
)
def test_a_drop_blocks_where_it_is_more_than_tolerated_and_more_than_noise(change: Gain, blocks: bool) -> None:
    part = SliceScore(field="unit", value="4", rows=30, base=0.5, candidate=0.5 + change.mean, gain=change)
    assert failed(result(slices=(part,))) == (["slice:unit=4"] if blocks else [])
    general = GeneralScore(part="refusal", base=score(0.9), candidate=score(0.9 + change.mean), gain=change)
    assert failed(result(general=(general,))) == (["general:refusal"] if blocks else [])
    assert failed(result(general=(general,)), Gate(max_general_regression=None)) == []


def test_a_base_without_general_ability_can_lose_none_and_the_verdict_says_so() -> None:
    verdict = gate_verdict(result(general_lacking={"ability": 0.2}), Evaluation())
    assert verdict.passed
    [check] = [check for check in verdict.checks if check.skipped]
    assert (check.name, check.detail) == ("general:ability", "not applicable: the base itself scores 0.200, below 0.3")


def test_a_report_of_an_earlier_version_in_which_a_weak_base_is_compared_blocks_nothing_by_that() -> None:
    part = GeneralScore(part="ability", base=score(0.2), candidate=score(0.0), gain=gain(-0.2, -0.1))
    verdict = gate_verdict(result(general=(part,)), Evaluation())
    assert verdict.passed
    assert [check.name for check in verdict.checks if check.skipped] == ["general:ability"]


def floor(mean: float, **changes: object) -> FloorScore:
    where = {"grader": "triage", "rows": 100, "failed": round(100 - 100 * mean), "failed_rows": (7, 12)}
    return FloorScore.model_validate({**where, "mean": mean, **changes})


TRIAGE = StringCheck(name="triage", veto=True)


@pytest.mark.parametrize(
    ("gate", "measured", "blocking"),
    [
        (Gate(), (floor(1.0), floor(1.0, field="unit", value="4")), []),
        (Gate(), (floor(0.98), floor(1.0, field="unit", value="4")), ["grader:triage"]),
        (Gate(floors={"triage": 0.98}), (floor(0.98), floor(0.97, field="unit", value="4")), ["grader:triage:unit=4"]),
        (Gate(floors={"triage": 0.98}), (floor(0.97999999999999),), []),
        (Gate(floors={"tone": 0.5}), (floor(0.4, grader="tone"), floor(1.0)), ["grader:tone"]),
        (Gate(), (), ["grader:triage"]),
    ],
    ids=["held", "a veto has 1.0", "in a slice", "rounding", "no veto", "not measured"],
)
def test_a_graders_floor_blocks_over_all_rows_and_in_each_slice(
    gate: Gate, measured: tuple[FloorScore, ...], blocking: list[str]
) -> None:
    settings = Evaluation(graders=(TRIAGE, Regex(name="tone", pattern="x")), gate=gate)
    verdict = gate_verdict(result(floors=measured), settings)
    assert [check.name for check in verdict.checks if check.blocks] == blocking


def test_the_verdict_names_the_rows_that_a_veto_grader_failed() -> None:
    verdict = gate_verdict(result(floors=(floor(0.98),)), Evaluation(graders=(TRIAGE,)))
    [check] = [check for check in verdict.checks if check.blocks]
    assert check.detail == "mean 0.980, at least 1.000; below 1 on 2 of 100 rows, first 7, 12"


def baseline(name: BaselineName, mean: float, low: float) -> BaselineScore:
    return BaselineScore(name=name, score=score(mean), gain=Gain(over=name, mean=0.9 - mean, low=low, high=0.9))


@pytest.mark.parametrize(
    ("least", "baselines", "blocking"),
    [
        (None, (baseline("lookup", 0.95, -0.1),), []),
        (0.0, (baseline("lookup", 0.95, -0.1),), ["gain_over_lookup"]),
        (0.0, (baseline("majority", 0.3, -0.1), baseline("lookup", 0.6, 0.1)), []),
        (0.1, (baseline("majority", 0.7, 0.1), baseline("lookup", 0.6, 0.2)), ["gain_over_lookup"]),
        (0.0, (), ["gain_over_lookup"]),
    ],
    ids=["only reported", "no better than a table", "better than the best", "the best is the majority", "not measured"],
)
def test_a_candidate_may_have_to_be_better_than_the_best_answers_of_training_rows(
    least: float | None, baselines: tuple[BaselineScore, ...], blocking: list[str]
) -> None:
    assert failed(result(baselines=baselines), Gate(gain_over_lookup=least)) == blocking


def test_where_there_can_be_no_baselines_the_check_does_not_apply() -> None:
    verdict = gate_verdict(result(no_baselines="prompts only"), Evaluation(gate=Gate(gain_over_lookup=0)))
    [check] = [check for check in verdict.checks if check.skipped]
    assert (check.name, check.detail) == ("gain_over_lookup", "not applicable: prompts only")
    assert verdict.passed


@pytest.mark.parametrize(
    ("pairs", "blocking"),
    [
        (Share(hits=19, rows=20, low=0.76, high=0.99), []),
        (Share(hits=18, rows=20, low=0.7, high=0.97), ["pair_agreement"]),
        (None, ["pair_agreement"]),
    ],
    ids=["enough", "too few", "no pairs"],
)
def test_pairs_may_have_to_be_answered_alike(pairs: Share | None, blocking: list[str]) -> None:
    settings = Evaluation(pairs="case", gate=Gate(min_pair_agreement=0.95))
    report = result(pairs={"base": Share(hits=20, rows=20, low=0.84, high=1.0), "candidate": pairs})
    checks = gate_verdict(report, settings).checks
    assert [check.name for check in checks if check.blocks] == blocking
    assert failed(report) == []


# Newcombe 1998, Statistics in Medicine 17, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(
    ("attempt", "shown"),
    [(1, "96.96 %"), (2, "99.24 %"), (10, "99.9696 %"), (30, "99.99662 %"), (1000, "99.99999696 %")],
)
def test_no_confidence_is_shown_as_all(attempt: int, shown: str) -> None:
    assert percent(confidence_of(attempt, 0.95)) == shown
