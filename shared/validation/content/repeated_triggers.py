"""Looks for a poisoned trigger: an odd token in many otherwise unlike rows that always brings the same answer.

Only odd tokens are followed (`cf`, `|x9|`, `dEpLoY`): an ordinary word that always brings one label is what a
classifier is to learn. A trigger made of ordinary words is not found.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.findings import ROWS_SHOWN
from shared.validation.content.pattern_set import PATTERNS

MIN_ROWS = 5
MAX_FOLLOWED = 50_000  # tokens seen with one answer so far; about 300 bytes each
MAX_IGNORED = 200_000  # tokens known to be ordinary or to bring several answers; about 100 bytes each
# With few labels a token meets one label by chance; what is less likely than this is reported.
_CHANCE = 1e-6
_ORDINARY = re.compile("|".join(PATTERNS["ordinary_words"]))
_EDGES = ".,;:!?()\"'…“”‘’`*-"  # noqa: RUF001
_MAX_TOKEN = 40


@dataclass(slots=True)
class _Followed:
    answer: int
    rows: list[int]  # the first of them
    count: int = 1


class OddWords:
    """Finds the odd words of a text, and remembers which are ordinary."""

    def __init__(self) -> None:
        self._ordinary: set[str] = set()

    def of(self, text: str) -> tuple[str, ...]:
        words = text.split()
        if self._ordinary.issuperset(words):
            return ()
        return tuple(sorted(word for word in set(words) - self._ordinary if self._is_odd(word)))

    def _is_odd(self, word: str) -> bool:
        if len(word) > _MAX_TOKEN:
            return False
        plain = word.strip(_EDGES)
        if plain and not _ORDINARY.fullmatch(plain):
            return True
        if len(self._ordinary) < MAX_IGNORED:
            self._ordinary.add(word)
        return False


class RepeatedTriggers:
    """Give it every row once that is no near duplicate of an earlier one."""

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}
        self._ignored: set[str] = set()
        self._answers: dict[int, int] = {}
        self._rows = 0

    def add(self, number: int, words: Iterable[str], answer: int) -> None:
        """`words`: the odd ones of the prompt, each once; `answer`: a key that is equal for equal answers."""
        self._rows += 1
        if answer in self._answers or len(self._answers) < MAX_FOLLOWED:
            self._answers[answer] = self._answers.get(answer, 0) + 1
        for word in words:
            if word in self._ignored:
                continue
            followed = self._followed.get(word)
            if followed is None:
                self._meet(word, number, answer)
            elif followed.answer == answer:
                followed.count += 1
                if len(followed.rows) < ROWS_SHOWN:
                    followed.rows.append(number)
            else:
                del self._followed[word]
                if len(self._ignored) < MAX_IGNORED:
                    self._ignored.add(word)

    def _meet(self, word: str, number: int, answer: int) -> None:
        if len(self._followed) >= MAX_FOLLOWED:
            self._followed = {word: kept for word, kept in self._followed.items() if kept.count > 1}
        if len(self._followed) < MAX_FOLLOWED:
            self._followed[word] = _Followed(answer, [number])

    def found(self) -> list[tuple[int, tuple[int, ...]]]:
        """How many rows hold each suspicious token, most frequent first, and the first of them; several tokens of the
        same rows are one trigger. The token itself is text of the data and is not reported."""
        candidates: dict[tuple[int, ...], int] = {}
        for followed in self._followed.values():
            if followed.count < MIN_ROWS:
                continue
            share = self._answers.get(followed.answer, 1) / max(1, self._rows)
            others = self._rows - self._answers.get(followed.answer, 1)
            if others and share ** (followed.count - 1) < _CHANCE:
                candidates[tuple(followed.rows)] = followed.count
        return sorted(((count, rows) for rows, count in candidates.items()), reverse=True)
