"""When answers are labels."""

from __future__ import annotations

import pytest

from shared.validation.labels import LabelCount, find_labels


def repeated(*rows: int) -> list[LabelCount]:
    """Answers that so many rows give, each row a group of its own."""
    return [LabelCount(key, count, count) for key, count in enumerate(sorted(rows, reverse=True), start=1)]


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
        ((9,) * 101, 1000, False),
        ((20,) * 20, 400, True),
    ],
)
def test_answers_are_labels_where_few_are_each_given_often(
    counts: tuple[int, ...], rows: int, classifies: bool
) -> None:
    assert find_labels(repeated(*counts), rows, share=0.1).classifies is classifies


def test_all_labels_of_a_task_count_and_elsewhere_those_of_which_a_row_is_held_out() -> None:
    assert [label.rows for label in find_labels(repeated(97, 2), 100, share=0.1).counts] == [97, 2]
    assert [label.rows for label in find_labels(repeated(40, 10, 9, 2), 1000, share=0.1).counts] == [40, 10]
