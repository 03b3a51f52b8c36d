"""One pass over a text tells which patterns occur in it."""

from __future__ import annotations

import pytest

from shared.validation.content.pattern_set import PatternSet

PATTERNS = PatternSet({"digits": r"\d{3}", "at": "@", "word": r"(?i)\bcall\b"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        ("12", set()),
        ("call 123", {"digits", "word"}),
        ("Call a@b", {"at", "word"}),
        ("recall", set()),
        ("\ud800@", {"at"}),  # a lone surrogate has no UTF-8
    ],
)
def test_the_names_of_all_patterns_that_occur_are_told(text: str, names: set[str]) -> None:
    assert PATTERNS.hits(text) == names
