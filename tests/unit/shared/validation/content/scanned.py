"""A content scan of rows, and what it found."""

from __future__ import annotations

import random
from typing import Any

from shared.domain.dataset import ProblemGroup
from shared.domain.findings import Findings, Place
from shared.domain.recipe import Data
from shared.validation.codes import CONTENT_CODES
from shared.validation.content.near_duplicates import INDEXED_ROWS_BITS
from shared.validation.content.scan import ContentScan

WORDS = [
    f"{a}{b}" for a in ("pump", "valve", "claim", "ward", "letter", "seal") for b in ("", "s", "ing", "ed", "er", "age")
]


def row(question: str, answer: str, **extra: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **extra}]


def prose(chance: random.Random, words: int = 30) -> str:
    return " ".join(chance.choices(WORDS, k=words))


class Scan:
    """A content scan with what it found."""

    def __init__(self, policy: Data = Data(), bits: int = INDEXED_ROWS_BITS) -> None:
        self._findings = Findings(CONTENT_CODES)
        self._scan = ContentScan(self._findings, policy, indexed_rows_bits=bits)

    def row(self, number: int, file: str, messages: list[dict[str, Any]], tag: int = 0, **item: Any) -> dict[str, Any]:
        place = Place(file, number)
        document = self._scan.read(place, {"messages": messages, "item": item})
        dialogue = self._scan.rows.dialogue(document["messages"], None, has_answer=True, held_out=file == "eval")
        self._scan.place(place, dialogue, tag or number)
        return document

    def found(self) -> dict[str, ProblemGroup]:
        self._scan.finish()
        return {problem.code: problem for problem in self.groups()}

    def groups(self) -> tuple[ProblemGroup, ...]:
        return self._findings.problems()


def scanned(rows: list[list[dict[str, Any]]], policy: Data = Data(), part: str = "train") -> dict[str, ProblemGroup]:
    scan = Scan(policy)
    for number, messages in enumerate(rows, start=1):
        scan.row(number, part, messages)
    return scan.found()
