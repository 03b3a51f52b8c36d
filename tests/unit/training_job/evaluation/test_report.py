"""Does the verdict mean something? Drawn scores of known quality go through the real report and the real gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.domain.evaluation import Verdict, gate_verdict
from shared.domain.graders import StringCheck
from shared.domain.recipe import Evaluation, Gate
from shared.grading.engine import Grade
from training_job.evaluation import report, scoring

ROWS = 120
SLICES = ("north", "south", "east", "west")


def models(draw: np.random.Generator, chances: dict[str, Any]) -> dict[str, scoring.GradedAnswers]:
    """Right or wrong for every row, by each model's own chance of being right there."""
    found = {}
    for name, chance in chances.items():
        right = (draw.random(ROWS) < chance).astype(float)
        grades = [Grade(score, {"right": score}, ()) for score in right]
        found[name] = scoring.graded([f"{name} {n} {score}" for n, score in enumerate(right)], grades)
    return found


def generated(cut: dict[str, list[bool]]) -> dict[str, scoring.Answers]:
    return {name: scoring.Answers([], [1] * ROWS, each, 1.0) for name, each in cut.items()}


def verdict(draw: np.random.Generator, **chances: Any) -> Verdict:
    items = [{"region": SLICES[n % 4]} for n in range(ROWS)]
    names = list(chances)
    answers = generated({n: [False, True] * (ROWS // 2) for n in names})
    settings = Evaluation(slices=("region",), gate=Gate(confidence=0.95))
    return gate_verdict(
        report.summarize(settings, items, models(draw, chances), answers, dict.fromkeys(answers, "t"), ()), settings
    )


def failed(found: Verdict) -> set[str]:
    return {check.name for check in found.checks if check.blocks}


# A draw takes 0.1 s; the many are for the rates, the few notice a rule that broke.
@pytest.fixture(params=[20, pytest.param(100, marks=pytest.mark.slow)])
def draws(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("quality", [0.5, 0.8])
def test_identical_models_are_seldom_called_better(quality: float, draws: int) -> None:
    """Same chance of being right on each row, some rows harder than others; at 95 % one in forty is called better."""
    hardness = np.random.default_rng(99).uniform(-0.2, 0.2, ROWS)
    verdicts = [
        verdict(np.random.default_rng(seed), base=quality + hardness, candidate=quality + hardness)
        for seed in range(draws)
    ]
    not_better = sum("gain_over_base" in failed(found) for found in verdicts)
    print(f"identical models at {quality}: not better in {not_better} of {draws} draws")
    assert draws - not_better <= {20: 2, 100: 7}[draws]


def test_the_very_same_answers_are_never_called_better() -> None:
    drawn = models(np.random.default_rng(1), {"base": 0.5})
    both = {"base": drawn["base"], "candidate": drawn["base"]}
    answers = generated({n: [False, True] * (ROWS // 2) for n in both})
    settings = Evaluation()
    found = gate_verdict(
        report.summarize(settings, [{}] * ROWS, both, answers, dict.fromkeys(answers, "t"), ()), settings
    )
    assert failed(found) == {"gain_over_base", "adapter_has_effect"}


def test_the_share_of_answers_that_were_cut_is_that_of_all_rows_by_model() -> None:
    drawn = models(np.random.default_rng(1), {"base": 0.5, "candidate": 0.5})
    cut = {"base": [True] * ROWS, "candidate": [n < ROWS // 4 for n in range(ROWS)]}
    found = report.summarize(Evaluation(), [{}] * ROWS, drawn, generated(cut), dict.fromkeys(drawn, "t"), ())
    assert found.answers_at_limit == {"base": 1.0, "candidate": ROWS // 4 / ROWS}


def test_a_planted_gain_is_found_and_passes_the_whole_gate(draws: int) -> None:
    verdicts = [verdict(np.random.default_rng(seed), base=0.5, candidate=0.8) for seed in range(draws)]
    passed = sum(found.passed for found in verdicts)
    print(f"a gain of 0.3 on {ROWS} rows passes in {passed} of {draws} draws")
    assert passed >= 0.95 * draws


def test_a_planted_drop_in_one_slice_blocks_a_candidate_that_is_better_over_all(draws: int) -> None:
    north = np.array([n % 4 == 0 for n in range(ROWS)])
    verdicts = [
        verdict(np.random.default_rng(seed), base=np.where(north, 0.9, 0.4), candidate=np.where(north, 0.3, 0.95))
        for seed in range(draws)
    ]
    better = [found for found in verdicts if "gain_over_base" not in failed(found)]
    blocked = sum(failed(found) == {"slice:region=north"} for found in better)
    print(f"better over all in {len(better)} of {draws} draws, blocked by its slice in {blocked}")
    assert len(better) >= 0.9 * draws
    assert blocked >= 0.9 * len(better)


def test_slices_that_did_not_change_seldom_block(draws: int) -> None:
    """Four slices of thirty rows: their intervals share the confidence, or one draw in ten would be declined."""
    verdicts = [verdict(np.random.default_rng(seed), base=0.5, candidate=0.5) for seed in range(draws)]
    declined = sum(any(name.startswith("slice:") for name in failed(found)) for found in verdicts)
    print(f"unchanged slices declined {declined} of {draws} candidates")
    assert declined <= 0.07 * draws


def test_the_model_in_production_is_held_against_the_candidate_as_the_base_is() -> None:
    found = verdict(np.random.default_rng(3), base=0.2, champion=0.9, candidate=0.6)
    assert "gain_over_champion" in failed(found)
    assert "gain_over_base" not in failed(found)


def test_a_veto_graders_floor_is_measured_without_being_asked_for() -> None:
    drawn = models(np.random.default_rng(1), {"base": 0.5, "candidate": 0.9})
    answers = generated({n: [False] * ROWS for n in drawn})
    settings = Evaluation(graders=(StringCheck(name="right", veto=True),))
    found = report.summarize(
        settings, [{}] * ROWS, drawn, answers, dict.fromkeys(answers, "t"), (), unscored=frozenset({0})
    )
    wrong = [n for n, score in enumerate(drawn["candidate"].scores, start=1) if score < 1 and n > 1]
    [floor] = found.floors
    assert (floor.grader, floor.rows, floor.failed, floor.failed_rows) == ("right", 119, len(wrong), tuple(wrong[:5]))
    assert "grader:right" in failed(gate_verdict(found, settings))
