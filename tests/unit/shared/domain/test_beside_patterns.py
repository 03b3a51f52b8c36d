"""Patterns of parts, as TOML files hold them."""

from __future__ import annotations

import pytest

from shared.domain.beside import composed


def test_a_part_stands_for_the_pattern_of_its_name_above_it_also_in_lists() -> None:
    patterns = {"digit": r"\d", "number": "(?<!x)<digit>+", "forms": ["<number>", ["a<digit>", "b"]]}
    assert composed(patterns)["forms"] == [r"(?<!x)\d+", [r"a\d", "b"]]


def test_a_line_break_is_no_part_of_a_pattern_but_one_that_is_written_is() -> None:
    assert composed({"long": "\na|\nb\\n"}) == {"long": "a|b\\n"}


def test_a_part_that_is_not_above_is_an_error() -> None:
    with pytest.raises(KeyError):
        composed({"number": "<digit>", "digit": r"\d"})
