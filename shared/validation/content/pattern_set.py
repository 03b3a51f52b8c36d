"""One pass of RE2 over a text, in linear time, that finds which detectors are worth running."""

from collections.abc import Mapping
from typing import Any

import re2

from shared.domain.beside import read_beside

PATTERNS: dict[str, Any] = read_beside(__file__, "patterns.toml")


class PatternSet:
    """Made of name -> RE2 pattern."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._names = tuple(patterns)
        self._set = re2.Set.SearchSet()
        for pattern in patterns.values():
            self._set.Add(pattern)
        self._set.Compile()

    def hits(self, text: str) -> frozenset[str]:
        """The names whose pattern occurs in the text."""
        found = self._set.Match(text.encode("utf-8", "replace"))
        return frozenset(self._names[index] for index in found) if found else _NOTHING


_NOTHING: frozenset[str] = frozenset()
