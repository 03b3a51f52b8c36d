"""When answers are labels."""

from __future__ import annotations

import pytest

from shared.validation.labels import LabelCount, find_labels


def repeated(*rows: int) -> list[LabelCount]:
    """Answers that so many rows give, each row a group of its own."""
    return [LabelCount(key, count, count, count) for key, count in enumerate(sorted(rows, reverse=True), start=1)]


@pytest.mark.parametrize(
    ("counts", "rows", "classifies"),
    [
        ((500, 400, 100), 1000, True),
        ((500, 400, 2), 1000, True),  # the rest are slips and notes
        ((500, 300), 1000, False),  # a fifth of the answers is free text
        ((1000,), 1000, False),  # one answer is none to choose from
        ((), 1000, False),
        ((3,) * 20, 60, True),
        ((2,) * 20, 40, False),  # phrases that happen to come twice
        ((10,) * 100, 1000, True),  # a tenth of the rows
        ((9,) * 101, 1000, True),
        ((5,) * 77, 385, True),
        ((3,) * 150, 450, True),
        ((3,) * 150, 500, True),
        ((3,) * 150, 501, False),
        ((2,) * 150, 300, False),
        ((20,) * 20, 400, True),
    ],
)
def test_answers_are_labels_where_each_is_given_often(counts: tuple[int, ...], rows: int, classifies: bool) -> None:
    assert find_labels(repeated(*counts), rows, share=0.1).classifies is classifies


def test_all_labels_of_a_task_count_and_elsewhere_those_of_which_a_row_is_held_out() -> None:
    assert [label.rows for label in find_labels(repeated(97, 2), 100, share=0.1).counts] == [97, 2]
    assert [label.rows for label in find_labels(repeated(40, 10, 9, 2), 1000, share=0.1).counts] == [40, 10]


@pytest.mark.parametrize(("groups", "units", "classifies"), [(5, 5, True), (5, 1, False), (1, 1, False)])
def test_many_answers_are_labels_where_questions_that_differ_have_them(
    groups: int, units: int, classifies: bool
) -> None:
    """Else they are what is asked for in several ways, or in one document."""
    many = [LabelCount(key, 5, groups, units) for key in range(1, 101)]
    few = many[:20]
    assert find_labels(many, 500, share=0.1).classifies is classifies
    assert find_labels(few, 100, share=0.1).classifies
    assert (find_labels(many, 500, share=0.1).few, find_labels(few, 100, share=0.1).few) == (False, True)
