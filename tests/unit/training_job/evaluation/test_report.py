"""Does the verdict mean something? Drawn scores of known quality go through the real report and the real gate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from shared.domain.evaluation import Gain, Verdict, confidence_of, gate_verdict, smallest_gain
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


# A draw takes a millisecond or two; the many are for the rates, the few notice a rule that broke.
@pytest.fixture(params=[100, pytest.param(2000, marks=pytest.mark.slow)])
def draws(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def most(draws: int, share: float = 0.025) -> float:
    """What is allowed of so many draws: the share that is promised, and two standard errors of counting it."""
    return draws * share + 2 * math.sqrt(draws * share * (1 - share))


def is_better(
    base: scoring.GradedAnswers,
    candidate: scoring.GradedAnswers,
    attempt: int = 1,
    cases: int = 0,
    named: list[int] | None = None,
) -> bool:
    """Whether the gate finds the candidate better; of its rows so many are one case, or those that have one number."""
    both, rows = {"base": base, "candidate": candidate}, len(base.scores)
    answers = {name: scoring.Answers([], [1] * rows, [False] * rows, 1.0) for name in both}
    items = [{"case": n} for n in named or (n // max(1, cases) for n in range(rows))]
    found = report.summarize(
        Evaluation(),
        items,
        both,
        answers,
        dict.fromkeys(both, "t"),
        (),
        group="case" if cases or named else None,
        attempt=attempt,
    )
    return "gain_over_base" not in failed(gate_verdict(found, Evaluation()))


def scored(right: Any) -> scoring.GradedAnswers:
    grades = [Grade(float(score), {}, ()) for score in right]
    return scoring.GradedAnswers([f"{n} {score}" for n, score in enumerate(right)], right.astype(float), grades)


HARDNESS = np.random.default_rng(99).uniform(-0.2, 0.2, 500)


@pytest.mark.parametrize("on", ["rows of selection", "the rows that judge"])
def test_the_best_of_ten_equal_checkpoints_is_seldom_called_better(on: str, draws: int) -> None:
    """Sixty rows select. Chosen on the rows that judge, the best is called better far more often than is promised."""
    better = 0
    for seed in range(draws):
        draw, chance = np.random.default_rng(seed), 0.5 + HARDNESS[: 60 + ROWS]
        right = draw.random((11, 60 + ROWS)) < chance
        selecting = right[1:, :60] if on == "rows of selection" else right[1:, 60:]
        best = right[1:][selecting.sum(axis=1).argmax()]
        better += is_better(scored(right[0, 60:]), scored(best[60:]))
    print(f"best of ten equal checkpoints by {on}: better in {better} of {draws}")
    assert better <= most(draws) if on == "rows of selection" else better > most(draws)


@pytest.mark.parametrize("counted", [True, False])
def test_ten_attempts_at_the_same_rows_seldom_find_one_of_equal_models_better(counted: bool, draws: int) -> None:
    better = 0
    for seed in range(draws // (1 if counted else 4)):
        right = np.random.default_rng(seed).random((11, ROWS)) < 0.5 + HARDNESS[:ROWS]
        base = scored(right[0])
        better += any(is_better(base, scored(right[k]), k if counted else 1) for k in range(1, 11))
    print(f"ten attempts, {counted=}: one passes in {better} of {draws // (1 if counted else 4)}")
    assert better <= most(draws) if counted else better > most(draws // 4)


@pytest.mark.parametrize(("cases", "named"), [(30, True), (10, True), (5, True), (30, False)])
def test_identical_models_on_cases_of_four_equal_rows_are_seldom_called_better(
    cases: int, named: bool, draws: int
) -> None:
    """Rows that are taken as independent where they are not are called better far too often."""
    better = 0
    for seed in range(draws):
        right = np.random.default_rng(seed).random((2, cases)) < 0.5 + HARDNESS[:cases]
        base, candidate = (scored(one.repeat(4)) for one in right)
        better += is_better(base, candidate, cases=4 if named else 0)
    print(f"{cases} cases of four equal rows, {named=}: better in {better} of {draws}")
    assert better <= most(draws) if named else better > most(draws)


def test_identical_models_are_never_called_better_where_two_of_thirty_cases_hold_most_rows(draws: int) -> None:
    """Student's t with 1.3 degrees of freedom alone calls 5 % of them better."""
    cases = [0] * 100 + [1] * 100 + list(range(2, 30))
    assert not sum(
        is_better(base, candidate, named=cases)
        for right in (np.random.default_rng(seed).random((2, 30)) < 0.5 for seed in range(draws))
        for base, candidate in [[scored(one[cases]) for one in right]]
    )


# Rows, gain: least and most of 100 draws that find it better. All: 2,000 draws, docs/explanation/evaluation.md.
POWER = {(20, 0.2): (2, 30), (60, 0.3): (75, 100), (120, 0.05): (1, 25), (120, 0.2): (75, 100), (500, 0.1): (75, 100)}
ALL = [(rows, gain) for rows in (20, 60, 120, 500) for gain in (0.05, 0.1, 0.2, 0.3)]


def found_better(rows: int, gain: float, draws: int) -> int:
    chance = 0.5 + HARDNESS[:rows]
    better = 0
    for seed in range(draws):
        draw = np.random.default_rng(seed).random((2, rows))
        better += is_better(scored(draw[0] < chance), scored(draw[1] < chance + gain))
    return better


@pytest.mark.parametrize(("rows", "gain"), POWER)
def test_a_planted_gain_is_found_as_often_as_the_rows_allow(rows: int, gain: float) -> None:
    low, high = POWER[rows, gain]
    assert low <= found_better(rows, gain, 100) <= high


@pytest.mark.slow
def test_the_gain_that_is_said_to_be_detectable_is_found_in_four_of_five_cases() -> None:
    table = {(rows, gain): found_better(rows, gain, 2000) / 2000 for rows, gain in ALL}
    for (rows, gain), share in table.items():
        print(f"{rows} rows, gain {gain}: {share:.1%}")
    for rows in (60, 120, 500):
        detectable = smallest_gain(rows, Gate())
        assert detectable is not None
        assert 0.78 <= found_better(rows, detectable, 2000) / 2000 <= 0.95


@pytest.mark.parametrize(
    ("count", "base", "attempt"),
    [(24, 0.0, 1), (24, 0.0, 3), (60, 0.03, 1), (120, 0.03, 5), (120, 0.5, 1), (500, 0.03, 1), (500, 0.5, 5)],
)
def test_the_gain_that_a_verdict_says_such_rows_show_is_shown_in_about_four_of_five_cases(
    count: int, base: float, attempt: int
) -> None:
    """Said of a candidate that is hardly better: of a weak base hardly a row has changed yet."""
    rows, sure, draw = scoring.Rows([{}] * count), confidence_of(attempt, 0.95), np.random.default_rng(3)

    def gain(real: float) -> Gain:
        right, better = (draw.random(count) < chance for chance in (base, base + real))
        return rows.gain("base", better.astype(float), right.astype(float), sure)

    detectable = np.median([found for _ in range(80) if (found := gain(0.05).detectable)])
    assert 0.7 < np.mean([gain(float(detectable)).low > 0 for _ in range(500)]) < 0.93


@pytest.mark.parametrize("quality", [0.5, 0.8])
def test_identical_models_are_seldom_called_better(quality: float, draws: int) -> None:
    """Same chance of being right on each row, some rows harder than others; at 95 % at most one in forty is better."""
    hardness = np.random.default_rng(99).uniform(-0.2, 0.2, ROWS)
    verdicts = [
        verdict(np.random.default_rng(seed), base=quality + hardness, candidate=quality + hardness)
        for seed in range(draws)
    ]
    not_better = sum("gain_over_base" in failed(found) for found in verdicts)
    print(f"identical models at {quality}: not better in {not_better} of {draws} draws")
    assert draws - not_better <= most(draws)


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
    assert declined <= most(draws)


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
