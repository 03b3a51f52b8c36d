"""De-identification: what a finder, handed in by the validation job, shows in rows is replaced, or reported."""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice
from typing import Any, Protocol

import orjson

from shared.domain.findings import Findings
from shared.domain.recipe import Deidentify
from shared.validation.content.personal_data import Found
from shared.validation.content.texts import texts_of_row, with_texts_of_row
from shared.validation.reader import ReadRow
from shared.validation.rows import row_of

ROWS_AT_A_TIME = 64  # a model takes half as long for each text of many
CODES_OF_POLICY = {"block": "name", "redact": "name_redacted", "allow": "name_allowed"}
IN_WORDS = {"person": "names of persons", "place": "places", "postal_address": "postal addresses"}
_PROTECTED = re.compile(r"[^\s@]{1,64}@\S+|https?://\S+|\[[A-Z_]{1,40}(?:_\d+)?\]")
_PLACEHOLDER = re.compile(r"\[(PERSON|PLACE|POSTAL_ADDRESS)_(\d{1,6})\]")


class NameFinder(Protocol):
    """Finds persons (`person`), places (`place`) and postal addresses (`postal_address`)."""

    def find(self, rows: list[list[str]]) -> list[list[list[Found]]]:
        """What is in each text of each row, by place in the text; no two overlap."""
        ...


def not_searched_for(searched_for: Deidentify | None) -> tuple[str, ...]:
    """What may be in rows that were searched for this, None if no model searched them: every report says it."""
    missing = tuple(words for kind, words in IN_WORDS.items() if searched_for is None or kind not in searched_for.types)
    return missing if searched_for is None else (*missing, "names in other languages than English")


class Deidentifier:
    """Gives rows on, redacted if the policy requires it. Placeholders (`[PERSON_1]`, `[PLACE_1]`, `[POSTAL_ADDRESS_1]`)
    are numbered row by row. A value of a field in `sorting` (groups, slices) that names somebody becomes `[VALUE_1]`,
    numbered over all rows, so that groups stay apart; 100 bytes for each different one."""

    def __init__(self, finder: NameFinder, requested: Deidentify, sorting: Iterable[str], findings: Findings) -> None:
        self._finder, self._requested, self._findings = finder, requested, findings
        self._values: dict[str, dict[bytes, int]] = {name: {} for name in sorting}

    def rows(self, rows: Iterable[ReadRow]) -> Iterator[ReadRow]:
        """The rows, in their order."""
        rows = iter(rows)
        while some := list(islice(rows, ROWS_AT_A_TIME)):
            texts = [texts_of_row(read.row.document) for read in some]
            for read, of_row, found in zip(some, texts, self._finder.find(texts), strict=True):
                yield self._checked(read, of_row, found)

    def _checked(self, read: ReadRow, texts: list[str], found: list[list[Found]]) -> ReadRow:
        targets = [self._of_types(text, some) for text, some in zip(texts, found, strict=True)]
        kinds = {one.kind for one in chain.from_iterable(targets)}
        for kind in sorted(kinds):
            self._findings.add(CODES_OF_POLICY[self._requested.policy], *read.place, detail=IN_WORDS[kind])
        if not kinds or self._requested.policy != "redact":
            return read
        numbers = Numbers(texts)
        replaced = (_replaced(text, some, numbers) for text, some in zip(texts, targets, strict=True))
        before = read.row.document
        return read._replace(row=row_of(self._sorted_apart(before, with_texts_of_row(before, replaced))))

    def _of_types(self, text: str, found: list[Found]) -> list[Found]:
        """Without what is part of an address on the web, which the other detectors replace whole, or a placeholder."""
        found = [one for one in found if one.kind in self._requested.types]
        whole = [match.span() for match in _PROTECTED.finditer(text)] if found else []
        return [one for one in found if not any(one.start < end and start < one.end for start, end in whole)]

    def _sorted_apart(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        for name, numbers in self._values.items():
            if name in after["item"] and after["item"][name] != (value := before["item"][name]):
                key = blake2b(orjson.dumps(value), digest_size=8).digest()
                after["item"][name] = f"[VALUE_{numbers.setdefault(key, len(numbers) + 1)}]"
        return after


class Numbers:
    """Which placeholder stands for which value in a row. Those in its texts are not given again."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._last: dict[str, int] = {}
        for text in texts:
            for name, number in _PLACEHOLDER.findall(text):
                self._last[name] = max(self._last.get(name, 0), int(number))
        self._known: dict[str, list[tuple[set[str], int]]] = {}

    def placeholder(self, kind: str, value: str) -> str:
        """A part of a person's name is that person, where only one has it: Ms. Keller is Maria Keller."""
        name, words = kind.upper(), set(re.findall(r"\w+", value.casefold()))
        known = self._known.setdefault(name, [])
        same = [one for one in known if one[0] == words]
        if not same and kind == "person":
            same = [one for one in known if one[0] <= words or words <= one[0]]
        if len(same) == 1:
            same[0][0].update(words)
            return f"[{name}_{same[0][1]}]"
        self._last[name] = self._last.get(name, 0) + 1
        known.append((words, self._last[name]))
        return f"[{name}_{self._last[name]}]"


def _replaced(text: str, found: list[Found], numbers: Numbers) -> str:
    parts, done = list[str](), 0
    for one in found:
        parts += (text[done : one.start], numbers.placeholder(one.kind, text[one.start : one.end]))
        done = one.end
    return "".join(parts) + text[done:]
