"""Bars of a histogram."""

from __future__ import annotations

import pytest

from shared.domain.tokens import Histogram


@pytest.mark.parametrize(
    ("counts", "edges", "shown"),
    [
        ([0, 0, 0, 0], (), ()),
        ([1, 0, 0, 0], (10,), (1,)),
        ([0, 2, 0, 3], (20, 30, 99), (2, 0, 3)),
        ([0, 0, 0, 4], (99,), (4,)),
        ([1, 2, 3, 4], (10, 20, 30, 99), (1, 2, 3, 4)),
    ],
)
def test_bars_go_from_the_first_to_the_last_that_holds_anything(
    counts: list[int], edges: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    assert Histogram.of((10, 20, 30), counts, 99) == Histogram(edges=edges, counts=shown)
