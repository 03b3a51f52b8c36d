"""Texts with marked personal data, written by hand: two sets, each in two halves.

`tuning` is what rules were improved on, `test` what figures are of. The halves share no text.
`free_texts.txt` was written before the first rule: `{P:...}` is a person without the title, `{L:...}` a place that is
in no address, `{A:...}` an address. `sentences.txt` are filled with `values.json`; most without a slot are hard
negatives: eponymous diseases, drugs, makers, months, headings. Organizations, hospitals and products are no places.
`second_set.txt` was written after the rules, with other names, and has the kinds of the content scan too. Its phone
numbers, cards, IBANs and NHS numbers are valid, its look-alikes are order numbers, readings and versions.
`dates.txt` has dates of the clinic in single sentences, and dates of trades and machines beside words of the clinic.
Its first 128 lines were read when the rules were written, the others were written after them.
`date_rows.json` has whole rows with dates, each a list of its messages: notes, letters and chats of clinics, and rows
with dates that are of no clinic. Its `unseen` rows were written before their author read the rules, and were not
changed for them; its `read` rows were used to improve the rules. All parts of dates are marked but a year alone.
"""

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Half = Literal["tuning", "test"]
DRAWS = 4  # of values, for a sentence with slots
DATES_READ = 128
KINDS = {
    "P": "person",
    "L": "place",
    "A": "postal_address",
    "B": "date",
    "C": "payment_card",
    "D": "driving_license",
    "E": "email",
    "I": "iban",
    "K": "date",
    "M": "medical_record_number",
    "N": "nhs_number",
    "S": "us_ssn",
    "T": "phone",
    "V": "ip_address",
    "X": "passport",
}
_HERE = Path(__file__).parent
_MARK = re.compile(r"\{([A-Z]):([^{}]+)\}")
_SENTENCE_END = re.compile(r"(?<=[a-z)%][.!?]) (?=[A-Z])|\n")
_SLOT = re.compile(r"\{([PLA])\}")


class Labeled(NamedTuple):
    """`spans` are (kind, start, end) in characters of `text`, by place."""

    text: str
    spans: tuple[tuple[str, int, int], ...]


def labeled(half: Half) -> list[Labeled]:
    """The same on every call."""
    return [*free_texts(half), *sentences(half)]


def second_set(half: Half) -> list[Labeled]:
    return [_read(line) for line in _half(_lines("second_set.txt"), half)]


def dates(half: Half) -> list[Labeled]:
    lines = _lines("dates.txt")
    return [_read(line) for line in (lines[:DATES_READ] if half == "tuning" else lines[DATES_READ:])]


def date_rows(part: Literal["unseen", "read"], kind: Literal["clinical", "other"]) -> list[Labeled]:
    """One text for each row: its messages, a line feed between them."""
    rows = json.loads((_HERE / "date_rows.json").read_text("utf-8"))[part][kind]
    return [_read("\n".join(messages)) for messages in rows]


def sentences_of(rows: list[Labeled]) -> list[Labeled]:
    """Each line and sentence by itself, those without a mark and a digit left out."""
    found = []
    for text, spans in rows:
        ends = sorted({0, len(text), *(match.end() for match in _SENTENCE_END.finditer(text))})
        for start, end in itertools.pairwise(ends):
            own = tuple((kind, at - start, to - start) for kind, at, to in spans if start <= at and to <= end)
            if own or any(map(str.isdigit, text[start:end])):
                found.append(Labeled(text[start:end], own))
    return found


def free_texts(half: Half) -> list[Labeled]:
    return [_read(line) for line in _half(_lines("free_texts.txt"), half)]


def sentences(half: Half) -> list[Labeled]:
    """Each with a slot `DRAWS` times."""
    values = {
        slot: _half(found, half) for slot, found in json.loads((_HERE / "values.json").read_text("utf-8")).items()
    }
    chance = random.Random(29)
    return [_read(line) for line in _half(_lines("sentences.txt"), half) for line in _filled(line, values, chance)]


def _filled(line: str, values: dict[str, list[str]], chance: random.Random) -> Iterator[str]:
    for _ in range(DRAWS if _SLOT.search(line) else 1):
        drawn = {slot: iter(chance.sample(values[slot], 4)) for slot in values}
        yield _SLOT.sub(lambda slot: f"{{{slot[1]}:{next(drawn[slot[1]])}}}", line)  # noqa: B023


def _read(line: str) -> Labeled:
    text, spans, done = "", [], 0
    line = line.replace("\\n", "\n")
    for mark in _MARK.finditer(line):
        text += line[done : mark.start()]
        spans.append((KINDS[mark[1]], len(text), len(text) + len(mark[2])))
        text += mark[2]
        done = mark.end()
    return Labeled(text + line[done:], tuple(spans))


def _half(items: list[str], half: Half) -> list[str]:
    return items[0 if half == "tuning" else 1 :: 2]


def _lines(name: str) -> list[str]:
    return (_HERE / name).read_text("utf-8").splitlines()
