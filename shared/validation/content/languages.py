"""Which language rows are in, guessed by Compact Language Detector 2, whose tables are part of `pycld2`."""

from collections import Counter

import pycld2

from shared.domain.findings import ROWS_SHOWN
from shared.validation.content.pattern_set import PATTERNS

UNKNOWN, MIXED = "unknown", "mixed"
MIN_ROWS = 100
# Where more of the rows are in other languages, several are meant.
MAIN_SHARE = 0.97
_SAMPLE_CHARACTERS = 200
# Of a shorter text, or one with more of other languages in it, the guess is too often wrong.
_MIN_BYTES, _MIN_PERCENT = 50, 90
# Where question and answer are both longer and unknown, they stay unknown together.
_SHORT_CHARACTERS = 80
_CLOSE = [set(group.split()) for group in PATTERNS["close_languages"]]
_NEW_CODES = {"un": UNKNOWN, "iw": "he", "jw": "jv"}


class Languages:
    """Give it every row of the training part. Memory: 20 row numbers for each language."""

    def __init__(self) -> None:
        self._first: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, number: int, language: str) -> None:
        self._counts[language] += 1
        first = self._first.setdefault(language, [])
        if len(first) < ROWS_SHOWN:
            first.append(number)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by ISO 639 code, `mixed` or `unknown`, most first."""
        return dict(self._counts.most_common())

    def other_languages(self) -> list[tuple[str, int, list[int]]]:
        """Where nearly all rows are in one: the others, how many have each, the first. Rows in two may translate."""
        known = self._counts.total() - self._counts[UNKNOWN]
        languages = [one for one in self.counts if one not in (UNKNOWN, MIXED)]
        if known < MIN_ROWS or not languages:
            return []
        main, *others = languages
        if self._counts[main] < MAIN_SHARE * known:
            return []
        return [(one, self._counts[one], self._first[one]) for one in others if not close(main, one)]


def close(one: str, other: str) -> bool:
    """Whether a guess may well mean the other language."""
    return any({one, other} <= group for group in _CLOSE)


def language_of_row(question: str, answer: str) -> str:
    """The code of the language of both, of one if the other is too short, `mixed` if they differ, or `unknown`."""
    question, answer = question[:_SAMPLE_CHARACTERS], answer[:_SAMPLE_CHARACTERS]
    of_question, of_answer = language_of(question), language_of(answer)
    if UNKNOWN in (of_question, of_answer):
        found = of_answer if of_question == UNKNOWN else of_question
        may_help = found == UNKNOWN and min(len(question), len(answer)) < _SHORT_CHARACTERS
        return language_of(f"{question}\n{answer}") if may_help else found
    return of_answer if of_question == of_answer or close(of_question, of_answer) else MIXED


def language_of(text: str) -> str:
    """ISO 639 code, or `unknown` of a short text or one in which no language prevails."""
    encoded = text.encode()
    if len(encoded) < _MIN_BYTES:
        return UNKNOWN
    try:
        sure, size_bytes, languages = pycld2.detect(encoded, isPlainText=True)
    except pycld2.error:  # control characters, and code points that stand for none
        text = "".join(character if character.isprintable() else " " for character in text)
        sure, size_bytes, languages = pycld2.detect(text, isPlainText=True)
    _, code, percent, _ = languages[0]
    only_a_script = code.startswith("xx-")
    if not sure or only_a_script or size_bytes < _MIN_BYTES or percent < _MIN_PERCENT:
        return UNKNOWN
    return str(_NEW_CODES.get(code, code))
