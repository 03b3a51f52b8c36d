"""The ready packs: citations, labels, reading level, step order, acronyms, refusals. Each gives 0 to 1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from rapidfuzz.distance import LCSseq

from shared.grading.errors import GradingErrorCode, GradingFailed

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|\n+")
_VOWELS = re.compile(r"[aeiouy]+")
_POINTS_PER_GRADE = 0.25
_REFUSAL_CHARACTERS = 200


def plain(text: str) -> str:
    """In one case, blanks as single spaces: how texts are compared where spelling is all that counts."""
    return " ".join(text.casefold().replace("\u2019", "'").split())


def texts_of(value: Any, what: str) -> list[str]:
    """A list of texts out of a row. Raises GradingFailed for anything else."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, f"the row's {what} is not a list of texts")
    return value


def cited(given: Iterable[str], references: Iterable[str], measure: Literal["precision", "recall", "f1"]) -> float:
    """1 if nothing is to be cited and nothing is; 0 if one side only is empty."""
    named, expected = {plain(text) for text in given}, {plain(text) for text in references}
    if not named or not expected:
        return float(named == expected)
    hits = len(named & expected)
    if measure == "f1":
        return 2 * hits / (len(named) + len(expected))
    return hits / len(named if measure == "precision" else expected)


def labels_named(text: str, labels: Iterable[str]) -> set[str]:
    """Labels that stand in the text as whole words; of two that overlap ("urgent", "non-urgent") the longer."""
    rest, found = plain(text), set()
    for label in sorted({plain(label) for label in labels}, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(label)}(?!\w)"
        if re.search(pattern, rest):
            found.add(label)
            rest = re.sub(pattern, "\0", rest)
    return found


def reading_level(text: str, max_grade: float) -> float:
    """Flesch-Kincaid grade (Kincaid et al. 1975, Naval Technical Training Command report 8-75): 0.39 words per
    sentence + 11.8 syllables per word - 15.59. Syllables are vowel groups, a silent final e not counted, at least one.
    An answer without words scores 0."""
    words = _WORD.findall(text.casefold())
    if not words:
        return 0.0
    sentences = sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part))
    syllables = sum(map(_syllables, words))
    grade = 0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59
    return min(1.0, max(0.0, 1 - _POINTS_PER_GRADE * (grade - max_grade)))


def _syllables(word: str) -> int:
    count = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ye"))
    return max(1, count - silent)


def step_order(text: str, steps: list[str]) -> float:
    """Longest common subsequence of the expected steps and those named first, over the number expected."""
    if not steps:
        raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, "the row lists no steps")
    whole = plain(text)
    places = {number: _place(whole, plain(step)) for number, step in enumerate(steps)}
    named = sorted((number for number in places if places[number] >= 0), key=lambda number: places[number])
    return LCSseq.similarity(named, list(range(len(steps)))) / len(steps)


def _place(whole: str, part: str) -> int:
    match = re.search(rf"(?<!\w){re.escape(part)}(?!\w)", whole)
    return match.start() if match else -1


def expanded(text: str, acronyms: Any) -> float:
    """`acronyms`: acronym -> expansion or expansions, any of which will do. 1 for a row without any."""
    if not isinstance(acronyms, dict):
        raise GradingFailed(
            GradingErrorCode.INVALID_VARIABLE, "the row's acronyms are not a map of acronym to expansion"
        )
    whole = plain(text)
    hits = 0
    for accepted in acronyms.values():
        expansions = texts_of([accepted] if isinstance(accepted, str) else accepted, "expansion")
        hits += any(_place(whole, plain(expansion)) >= 0 for expansion in expansions)
    return hits / len(acronyms) if acronyms else 1.0


def refuses(text: str, phrases: Iterable[str]) -> bool:
    """Whether the answer begins with a phrase of refusal: the keyword test of Zou et al. 2023 (arXiv 2307.15043)."""
    beginning = plain(text)[:_REFUSAL_CHARACTERS]
    return any(plain(phrase) in beginning for phrase in phrases)
