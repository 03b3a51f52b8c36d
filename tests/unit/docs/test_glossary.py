"""The words of the glossary exist in the code, each once and in order."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.paths import ROOT

PACKAGES = ("shared", "functions", "training_job")
ROWS = re.findall(r"^\| (.+?) \| `(\w+)` \| .+ \|$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)


@cache
def names_in_the_code() -> frozenset[str]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return frozenset(word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("word", "name"), ROWS)
def test_a_word_of_the_glossary_exists_in_the_code(word: str, name: str) -> None:
    assert name in names_in_the_code()


def test_the_glossary_has_no_word_twice() -> None:
    words = [word for word, _ in ROWS]
    assert len(words) > 30
    assert len(words) == len(set(words))
