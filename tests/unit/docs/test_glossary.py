"""The words of the glossary exist in the code, each once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("shared", "functions", "training_job")
ROWS = re.findall(r"^\| (.+?) \| `(\w+)` \| .+ \|$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)


@cache
def names_in_the_code() -> frozenset[str]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return frozenset(name for path in files for name in _names(path))


def _names(path: Path) -> Iterator[str]:
    """What is defined or used, and strings of one word; no comments and no prose."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value")]
        yield from (name for name in named if isinstance(name, str) and name.isidentifier())


@pytest.mark.parametrize(("word", "name"), ROWS)
def test_a_word_of_the_glossary_exists_in_the_code(word: str, name: str) -> None:
    assert name in names_in_the_code()


def test_the_glossary_has_no_word_twice() -> None:
    words = [word for word, _ in ROWS]
    assert len(words) > 30
    assert len(words) == len(set(words))
