from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cli.view import plot


def test_a_falling_line_goes_from_the_upper_left_to_the_lower_right() -> None:
    assert plot([(0, 4.0), (10, 0.0)], width=4, height=2) == ["4 ┤⠈⠢⡀⠀", "0 ┤⠀⠀⠈⠢"]


def test_a_jump_is_joined_upright() -> None:
    assert plot([(0, 0.0), (80, 0.0), (81, 1.0), (100, 1.0)], width=3, height=2) == [
        "1 ┤⠀⠀⢸",
        "0 ┤⣀⣀⣸",
    ]


def test_nothing_is_drawn_for_fewer_than_two_points() -> None:
    assert plot([]) == plot([(1, 2.0)]) == plot([(1, 2.0), (1, 3.0), (2, math.nan)]) == []


def test_a_flat_curve_is_drawn_in_the_middle() -> None:
    assert plot([(0, 2.0), (9, 2.0)], width=3, height=1) == ["2 ┤⠒⠒⠒"]


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(width=32)), max_size=50),
    st.integers(2, 80),
    st.integers(1, 20),
)
def test_any_curve_fits_its_frame(points: list[tuple[int, float]], width: int, height: int) -> None:
    drawn = plot(points, width=width, height=height)
    assert len(drawn) in (0, height)
    assert len({len(line) for line in drawn}) <= 1
