"""Scanned rows to the training file and the held-out file, by the project's own files or by a seeded split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import orjson

from shared.domain.findings import Findings, Place
from shared.rendering.facts import TokenFacts
from shared.validation.keys import Keys
from shared.validation.rows import characters
from shared.validation.scanner import ScannedRow
from shared.validation.sink import RowCounter, Writer, scratch


class Splitter:
    """Writes to `counter`'s files, and counts tokens where a tokenizer is available."""

    def __init__(self, findings: Findings, keys: Keys, counter: RowCounter, tokens: TokenFacts | None) -> None:
        self._findings, self._keys, self._counter, self._tokens = findings, keys, counter, tokens

    def write_both(self, train: Iterable[ScannedRow], evaluation: Iterable[ScannedRow]) -> None:
        """Two files. A training row may not be in the held-out file too."""
        for place, row, canonical in evaluation:  # first: training rows are compared with them
            self._count_tokens(place, row.document, characters(row), held_out=True)
            self._counter.write("eval", canonical)
        for place, row, canonical in train:
            self._count_tokens(place, row.document, characters(row), held_out=False)
            self._counter.write("train", canonical)
        self._counter.finish()
        self._report_duplicates("eval")
        for number, offset in self._keys.overlaps():
            self._findings.add("train_eval_overlap", *_place(number, offset))
        self._report_duplicates("train")

    def write_split(self, train: Iterable[ScannedRow], share: float) -> None:
        """One file, of which `share` is held out. Which rows these are is known once all were read."""
        with scratch() as file:
            rows = Writer(file)
            for _, _, canonical in train:
                rows.write(canonical)
            rows.rewind()
            grouped, split = self._keys.split(share)
            if not grouped:
                self._findings.add("near_duplicates_split", "train")
            for (number, offset, held_out), canonical in zip(split, file, strict=True):
                if self._tokens:
                    place = _place(number, offset)
                    self._count_tokens(place, orjson.loads(canonical), len(canonical), held_out=bool(held_out))
                self._counter.write("eval" if held_out else "train", canonical)
        self._counter.finish()
        self._report_duplicates("train")

    def _count_tokens(self, place: Place, document: dict[str, Any], size: int, *, held_out: bool) -> None:
        if self._tokens:
            self._tokens.add(place, document, size, held_out=held_out)

    def _report_duplicates(self, file: Literal["train", "eval"]) -> None:
        for number, offset in self._keys.duplicates(file):
            self._findings.add("duplicate_row", file, number, offset)


def _place(number: int, offset: int) -> Place:
    """Negative numbers are of rows of the earlier version."""
    return Place("train", number, offset) if number > 0 else Place("previous", -number, offset)
