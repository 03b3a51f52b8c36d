"""Finds personal data in text by its form and replaces it by placeholders. Names are found by `deidentify`."""

from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

from shared.validation.content.pattern_set import PatternSet
from shared.validation.content.personal_patterns import DETECTORS, Detector

MAX_NUMBERED = 200_000  # different values of one kind that get a number of their own; about 100 bytes each
_MAX_PASSES = 8

_BY_NAME = {f"{detector.kind}_{place}": detector for place, detector in enumerate(DETECTORS)}  # in order of precedence
_DIGIT = "digit"
TRIGGERS = {name: detector.trigger for name, detector in _BY_NAME.items()} | {_DIGIT: "[0-9]"}  # RE2 patterns
DATES = frozenset(name for name, detector in _BY_NAME.items() if detector.kind == "clinical_date")  # of `TRIGGERS`
KINDS = frozenset(detector.kind for detector in DETECTORS)
_GATE = PatternSet(TRIGGERS)


class Found(NamedTuple):
    """`text[start:end]` is personal data of `kind`."""

    kind: str
    start: int
    end: int


def likely(hits: frozenset[str]) -> list[Detector]:
    """The detectors that may find something in a text, by what a gate that holds `TRIGGERS` saw in it."""
    if hits.isdisjoint(_BY_NAME):
        return []
    # A word like "contact" starts some, but all that needs no digit is an e-mail address.
    digit = _DIGIT in hits
    return [one for name, one in _BY_NAME.items() if name in hits and (digit or one.kind == "email")]


def find(text: str) -> list[Found]:
    """What is there, in order of place; no two overlap."""
    return find_by(likely(_GATE.hits(text)), text)


def find_by(detectors: Iterable[Detector], text: str) -> list[Found]:
    """The same where it is known already which are `likely`."""
    found: list[Found] = []
    taken = bytearray(len(text))
    for detector in detectors:
        for start, end in detector.find(text):
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                found.append(Found(detector.kind, start, end))
    found.sort(key=lambda one: one.start)
    return found


class Redactor:
    """Replaces values by placeholders such as `[EMAIL_3]`, numbered as they are first seen; the same value has one
    number. Only digests are kept; beyond `most_numbered` values of a kind a placeholder has none. Redacting again
    changes nothing."""

    def __init__(self, most_numbered: int = MAX_NUMBERED) -> None:
        self._most_numbered = most_numbered
        self._numbers: dict[str, dict[bytes, int]] = {}

    def redact_all(self, texts: list[str], kinds: Collection[str] = KINDS) -> tuple[list[str], set[str]]:
        """The texts of one row without personal data, where the words of one tell what a date in another is; and the
        kinds found, those that stay among them: what is of a kind that stays is not taken for another."""
        seen = set[str]()
        # What stands beside a value changes when it goes, and may show another: until nothing is found.
        for _ in range(_MAX_PASSES):
            found = find("\n".join(texts))
            seen.update(one.kind for one in found)
            replaced = [one for one in found if one.kind in kinds]
            if not replaced:
                break
            texts = self._replace(texts, replaced)
        return texts, seen

    def _replace(self, texts: list[str], found: list[Found]) -> list[str]:
        """`found` is in characters of the texts joined by line feeds; nothing found goes beyond one text."""
        replaced, offset, left = [], 0, iter(found)
        one = next(left, None)
        for text in texts:
            parts, done = list[str](), 0
            while one and one.start < offset + len(text):
                start, end = one.start - offset, one.end - offset
                parts += (text[done:start], self._placeholder(one.kind, text[start:end]))
                done, one = end, next(left, None)
            replaced.append("".join(parts) + text[done:])
            offset += len(text) + 1
        return replaced

    def _placeholder(self, kind: str, value: str) -> str:
        name = _PLACEHOLDERS[kind]
        numbers = self._numbers.setdefault(name, {})
        # Spaces, dashes and capitals do not make another value.
        plain = value.lower() if kind in ("email", "ipv6") else "".join(filter(str.isalnum, value)).lower()
        key = blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest()
        if (number := numbers.get(key)) is None:
            if len(numbers) >= self._most_numbered:
                return f"[{name}]"
            number = numbers[key] = len(numbers) + 1
        return f"[{name}_{number}]"


_PLACEHOLDERS = {detector.kind: detector.placeholder for detector in DETECTORS}
