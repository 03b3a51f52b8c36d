"""Intervals and agreement, by worked examples of the sources."""

from __future__ import annotations

import random

import pytest

from cli.rate import agreement, cohen_kappa, krippendorff_alpha


def table(*rows: tuple[int, ...]) -> list[tuple[str, str]]:
    """Pairs of ratings by a table of counts: the first reviewer's label by row, the second's by column."""
    return [(str(a), str(b)) for a, row in enumerate(rows) for b, count in enumerate(row) for _ in range(count)]


def units(*reviewers: str) -> list[str]:
    """The ratings of each row; a line for each reviewer, `.` where there is none. Rows with one rating are no pair."""
    columns = ["".join(column).replace(".", "") for column in zip(*reviewers, strict=True)]
    return [column for column in columns if len(column) > 1]


def test_cohens_kappa_is_that_of_the_two_psychiatrists() -> None:
    # Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", chapter 18: 100 patients.
    pairs = table((75, 1, 4), (5, 4, 1), (0, 0, 10))
    assert agreement(pairs) == pytest.approx(0.89)
    assert cohen_kappa(pairs) == pytest.approx(0.676, abs=5e-4)
    assert cohen_kappa(table((20, 5), (10, 15))) == pytest.approx(0.4)


# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": sections A, B and C.
@pytest.mark.parametrize(
    ("reviewers", "alpha"),
    [
        (("0100000010", "1110010000"), 0.095),
        (("aabbdcccedda", "babbbccceddd"), 0.692),
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_alpha_is_that_of_krippendorffs_examples(reviewers: tuple[str, ...], alpha: float) -> None:
    assert krippendorff_alpha(units(*reviewers)) == pytest.approx(alpha, abs=5e-4)


def test_agreement_beyond_chance_is_undefined_where_all_ratings_are_equal() -> None:
    assert cohen_kappa([("A", "A")] * 3) is None
    assert krippendorff_alpha([("A", "A", "A")] * 3) is None


@pytest.mark.ci
def test_figures_are_those_of_nltk() -> None:
    from nltk.metrics.agreement import AnnotationTask

    picks = random.Random(0)
    for _ in range(20):
        rated = [[picks.choice("ABCD") for _ in range(2)] for _ in range(picks.randint(5, 40))]
        task = AnnotationTask([(who, row, label) for row, pair in enumerate(rated) for who, label in enumerate(pair)])
        assert cohen_kappa(rated) == pytest.approx(task.kappa())
        assert krippendorff_alpha(rated) == pytest.approx(task.alpha())
        assert agreement(rated) == pytest.approx(task.avg_Ao())
