"""Scanned rows to the training file and the held-out file, by the project's own files or by a seeded split."""

from collections.abc import Iterable
from typing import Any

import orjson

from shared.domain.findings import Findings, Place
from shared.domain.recipe import Recipe
from shared.rendering.facts import TokenFacts
from shared.validation.keys import Keys
from shared.validation.scanner import ScannedRow
from shared.validation.sink import RowCounter, scratch
from shared.validation.split import Split, assignments, split_rows


class Splitter:
    """Writes to `counter`'s files, and counts tokens where a tokenizer is available."""

    def __init__(self, findings: Findings, keys: Keys, counter: RowCounter, tokens: TokenFacts | None) -> None:
        self._findings, self._keys, self._counter, self._tokens = findings, keys, counter, tokens

    def write_both(self, train: Iterable[ScannedRow], evaluation: Iterable[ScannedRow], group: str | None) -> None:
        """Two files. A training row may not be in the held-out file too, nor may one of its group.

        `group`: data.split_group.
        """
        for place, row, canonical, size in evaluation:  # first: training rows are compared with them
            self._count_tokens(place, row.document, size, held_out=True)
            self._counter.write("eval", canonical)
        for place, row, canonical, size in train:
            self._count_tokens(place, row.document, size, held_out=False)
            self._counter.write("train", canonical)
        self._counter.finish()
        self._report("duplicate_row", "eval", self._keys.rows("duplicates", "eval"))
        self._report("train_eval_overlap", "train", self._keys.rows("overlaps"))
        self._report("train_eval_same_question", "train", self._keys.rows("same_questions"))
        if group is not None:
            self._report("group_in_both_splits", "train", self._keys.rows("shared_groups"), group)
        self._report("duplicate_row", "train", self._keys.rows("duplicates"))

    def write_split(self, train: Iterable[ScannedRow], recipe: Recipe) -> Split:
        """One file, of which a share is held out. Which rows these are is known once all were read."""
        data, needed = recipe.data, recipe.evaluation.gate.min_rows
        with scratch() as file:
            for scanned in train:
                file.write(scanned.canonical)
            file.seek(0)
            split = split_rows(self._keys, data.validation_split, needed, by_field=data.split_group is not None)
            for (number, offset, held_out), canonical in zip(assignments(self._keys), file, strict=True):
                if self._tokens:
                    place = _place(number, offset)
                    self._count_tokens(place, orjson.loads(canonical), len(canonical), held_out=bool(held_out))
                self._counter.write("eval" if held_out else "train", canonical)
        self._counter.finish()
        self._report("duplicate_row", "train", self._keys.rows("duplicates"))
        return split

    def _count_tokens(self, place: Place, document: dict[str, Any], size: int, *, held_out: bool) -> None:
        if self._tokens:
            self._tokens.add(place, document, size, held_out=held_out)

    def _report(self, code: str, file: str, found: Iterable[tuple[int, int]], detail: str = "") -> None:
        for number, offset in found:
            place = _place(number, offset)
            self._findings.add(code, file if file == "eval" else place.file, place.row, offset, detail=detail)


def _place(number: int, offset: int) -> Place:
    """Negative numbers are of rows of the earlier version."""
    return Place("train", number, offset) if number > 0 else Place("previous", -number, offset)
