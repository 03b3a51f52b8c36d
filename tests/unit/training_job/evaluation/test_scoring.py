"""Scores, gains and their intervals, slices and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.domain.errors import PermanentFailure
from shared.domain.graders import StringCheck
from training_job.evaluation import scoring

EXACT = (StringCheck(name="exact"),)


def test_intervals_are_those_of_the_normal_approximation_on_many_rows() -> None:
    values = np.array([0.0, 1.0] * 200)
    low, high = scoring.Bootstrap(400, 0.95, seed=1).interval(values)
    margin = 1.96 * 0.5 / np.sqrt(400)
    assert [low, high] == pytest.approx([0.5 - margin, 0.5 + margin], abs=0.006)


def test_a_gain_is_paired_so_that_common_difficulty_cancels() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(100)
    bootstrap = scoring.Bootstrap(100, 0.95, seed=1)
    gain = bootstrap.gain("base", base + 0.1, base)
    assert [gain.low, gain.high] == pytest.approx([0.1, 0.1])
    alone = bootstrap.score(base)
    assert alone.high - alone.low > 0.05


def test_the_same_scores_give_the_same_interval_every_time() -> None:
    values = np.random.default_rng(0).random(50)
    first, second = (scoring.Bootstrap(50, 0.9, seed=3).interval(values) for _ in range(2))
    assert first == second


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(50)
    narrow, wide = (scoring.Bootstrap(50, level, seed=3).interval(values) for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


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
    slices = scoring.slice_scores(("kind", "kind"), items, models, 0.95, seed=1)
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
