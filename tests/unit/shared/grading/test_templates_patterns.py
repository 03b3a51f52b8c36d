"""Regular expressions of graders."""

from __future__ import annotations

from typing import Any

import pytest

from shared.grading.engine import problems


def test_a_regex_takes_a_rows_text_letter_for_letter(score: Any) -> None:
    spec = {"type": "regex", "pattern": "^{{item.part}}$"}
    assert score(spec, "A.4", part="A.4") == 1
    assert score(spec, "AX4", part="A.4") == 0


@pytest.mark.parametrize("pattern", ["(a", "(?=x)y", r"(a)\1"])
def test_a_pattern_re2_cannot_read_is_a_problem_of_the_recipe(pattern: str, read: Any) -> None:
    [(setting, message)] = problems([read({"type": "regex", "pattern": pattern})], "graders")
    assert setting == "graders[0].pattern"
    assert "RE2" in message


@pytest.mark.timeout(60)
def test_a_pattern_that_hangs_other_engines_takes_no_time(score: Any) -> None:
    assert score({"type": "regex", "pattern": "^(a+)+$"}, "a" * 50_000 + "b") == 0
