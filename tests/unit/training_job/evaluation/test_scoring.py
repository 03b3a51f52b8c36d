"""Scores, gains and their intervals, slices and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.domain.errors import PermanentFailure
from shared.domain.evaluation import confidence_of
from shared.domain.graders import StringCheck
from training_job.evaluation import scoring

EXACT = (StringCheck(name="exact"),)


def rows(count: int, group_of: int = 1) -> scoring.Rows:
    return scoring.Rows([{"case": n // group_of} for n in range(count)], "case" if group_of > 1 else None)


# Of tables of Student's t: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
@pytest.mark.parametrize(
    ("tail", "freedom", "expected"),
    [
        *((0.025, 1, 12.706), (0.025, 2, 4.303), (0.025, 19, 2.093), (0.001, 5, 5.893), (0.001, 100, 3.174)),
        *((0.2, 60, 0.848), (1e-7, 10_000, 5.1999)),  # the last of the normal distribution, within a thousandth
    ],
)
def test_quantiles_are_those_of_the_tables(tail: float, freedom: float, expected: float) -> None:
    assert scoring.student(tail, freedom) == pytest.approx(expected, rel=2e-3)


def test_intervals_are_those_of_the_normal_approximation_on_many_rows() -> None:
    score = rows(400).score(np.array([0.0, 1.0] * 200), 0.95)
    margin = 1.96 * 0.5 / np.sqrt(400)
    assert [score.low, score.high] == pytest.approx([0.5 - margin, 0.5 + margin], abs=0.006)


def test_a_gain_is_paired_so_that_common_difficulty_cancels() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(100) / 2
    gain = rows(100).gain("base", base + 0.1, base, 0.95)
    assert [gain.low, gain.high] == pytest.approx([0.1, 0.1])
    alone = rows(100).score(base, 0.95)
    assert alone.high - alone.low > 0.05


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(50)
    narrow, wide = (rows(50).score(values, level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_groups_of_equal_rows_are_as_many_observations_as_groups() -> None:
    values = np.random.default_rng(0).random(30)
    alone, grouped = rows(30).score(values, 0.95), rows(120, group_of=4).score(values.repeat(4), 0.95)
    assert [grouped.low, grouped.high] == pytest.approx([alone.low, alone.high])


def test_groups_of_many_sizes_have_fewer_degrees_of_freedom_than_groups() -> None:
    """Two large groups among small ones: about two observations decide."""
    sizes = [40, 40, *[1] * 20]
    items = [{"case": f"{'PP'[n % 2]}{n}" if n else " p0 "} for n, size in enumerate(sizes) for _ in range(size)]
    found = scoring.Rows(items, "case")
    assert found.groups == 3  # 100² // (2 * 40² + 20)
    assert found.quantile(0.025) == pytest.approx(scoring.student(0.025, found._freedom), rel=1e-4)
    assert 1.5 < found._freedom < 3


@pytest.mark.parametrize(
    ("items", "group", "change", "expected"),
    [
        ([{}] * 2, None, 1.0, (0.0, 1.0)),  # two rows that both improve
        ([{}] * 6, None, 1.0, (0.0, 1.0)),  # six of six by chance: 1.6 %, and an attempt has 1.5 %
        ([{}] * 7, None, 1.0, (1.0, 1.0)),
        ([{}] * 7, None, -1.0, (-1.0, -1.0)),
        ([{}] * 7, None, 1e-15, (0.0, 0.0)),  # rounding of sums is no difference
        ([{"case": "one"}] * 100, "case", 1.0, (-1.0, 1.0)),  # of one group nothing is known
        ([{}] * 7, "case", 1.0, (1.0, 1.0)),  # rows without the field are groups of their own
        ([{"case": "p1"}, {"case": "P1 "}, {"case": "p2"}] * 4, "case", 1.0, (0.0, 1.0)),
        ([{}], None, 1.0, (-1.0, 1.0)),
        ([{"case": n % 2} for n in range(200)] + [{}] * 28, "case", 1.0, (0.0, 1.0)),  # two hold most rows
        ([{"case": n % 7} for n in range(210)] + [{}] * 28, "case", 1.0, (1.0, 1.0)),
    ],
    ids=str,
)
def test_what_few_rows_cannot_show_is_not_shown(
    items: list[Any], group: str | None, change: float, expected: tuple[float, float]
) -> None:
    base = np.full(len(items), 0.5)
    gain = scoring.Rows(items, group).gain("base", base + change, base, confidence_of(1, 0.95))
    assert (gain.low, gain.high) == pytest.approx(expected, abs=1e-9)
    assert gain.detectable is None


@pytest.mark.parametrize(("fallen", "seen"), [(5, False), (6, True), (9, True)])
def test_a_slice_that_falls_whole_is_a_loss_from_six_rows_on_however_many_slices_there_are(
    fallen: int, seen: bool
) -> None:
    base = np.ones(fallen)
    for confidence in (0.95, confidence_of(1, 0.95), 1 - 0.05 / 100):
        assert (rows(fallen).gain("base", base - 1, base, confidence).high < 0) is seen


def test_rows_with_one_prompt_are_one_observation() -> None:
    values = np.random.default_rng(0).random(30)
    copies = scoring.Rows([{}] * 120, None, [b"%d" % (n // 4) for n in range(120)])
    assert copies.groups == 30
    alone, repeated = rows(30).score(values, 0.95), copies.score(values.repeat(4), 0.95)
    assert [repeated.low, repeated.high] == pytest.approx([alone.low, alone.high])


def test_samples_show_what_got_worse_before_what_was_fixed() -> None:
    items = [{"answer": "x"}] * 30
    base = ["x"] * 3 + ["y"] * 27
    candidate = ["y"] * 3 + ["x"] * 20 + ["y"] * 7
    models = {
        name: scoring.grade_answers(EXACT, texts, items) for name, texts in (("base", base), ("candidate", candidate))
    }
    questions = [scoring.Question(number, "?", [], "x") for number in range(1, 31)]
    samples = scoring.pick_samples(questions, models)
    assert [sample.row for sample in samples] == [1, 2, 3, 4, 5, 6, 7, 8, 24, 25]


@pytest.mark.parametrize("item", [{}, {"answer": None}, {"answer": " "}], ids=repr)
def test_a_grader_does_not_start_without_a_value_to_read(item: dict[str, Any]) -> None:
    scoring.require_fields(EXACT, [{"answer": "x"}, {"answer": False}])
    with pytest.raises(PermanentFailure) as failure:
        scoring.require_fields(EXACT, [{"answer": "x"}, item])
    assert failure.value.problem.code == "grader_field_missing"
    assert "row 2" in str(failure.value)


def test_rows_without_the_field_are_in_no_slice_and_a_field_named_twice_makes_its_slices_once() -> None:
    items = [{"answer": "x", "kind": "a"}, {"answer": "x", "kind": "b"}, {"answer": "x"}]
    models = {
        "base": scoring.grade_answers(EXACT, ["y", "x", "x"], items),
        "candidate": scoring.grade_answers(EXACT, ["x", "x", "y"], items),
    }
    slices = scoring.slice_scores(("kind", "kind"), items, models, 0.95)
    assert [(s.value, s.rows, s.base, s.candidate, s.gain.mean) for s in slices] == [
        ("a", 1, 0, 1, 1),
        ("b", 1, 1, 1, 0),
    ]


def test_a_floor_is_measured_over_all_rows_and_by_slice_with_the_rows_that_failed() -> None:
    items = [{"answer": "x", "kind": kind} for kind in "aabb"]
    candidate = scoring.grade_answers(EXACT, ["x", "y", "x", "x"], items)
    found = scoring.floor_scores(("exact",), ("kind",), items, candidate, [1, 2, 4, 9])
    assert [(f.field, f.value, f.mean, f.rows, f.failed, f.failed_rows) for f in found] == [
        (None, None, 0.75, 4, 1, (2,)),
        ("kind", "a", 0.5, 2, 1, (2,)),
        ("kind", "b", 1.0, 2, 0, ()),
    ]
