"""Rows that were read, one by one: redacted, keyed, compared with those before, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from shared.domain.findings import Findings, Place
from shared.domain.recipe import Recipe
from shared.validation.content.scan import ContentScan
from shared.validation.keys import Keys
from shared.validation.reader import ReadRow
from shared.validation.rows import ParsedRow, characters, question_and_answer, row_of
from shared.validation.sink import RowCounter


class ScannedRow(NamedTuple):
    """A row as it is written. `canonical`: one line with its line feed."""

    place: Place
    row: ParsedRow
    canonical: bytes


class RowScanner:
    """`splits`: rows are held out by their split key, so near duplicates must share one."""

    def __init__(
        self, findings: Findings, recipe: Recipe, keys: Keys, content: ContentScan, counter: RowCounter, *, splits: bool
    ) -> None:
        self._findings, self._keys, self._content, self._counter = findings, keys, content, counter
        self._seed, self._group, self._splits = recipe.method.hyperparameters.seed, recipe.data.split_group, splits

    def scan(self, rows: Iterable[ReadRow]) -> Iterator[ScannedRow]:
        """The rows that are kept: where equal ones are dropped (data.mode: append), the first of each."""
        for read in rows:
            found = self._scan(read)
            if found is not None:
                yield found
            elif read.place.file == "train":
                self._findings.add("duplicate_row_dropped", *read.place)

    def _scan(self, read: ReadRow) -> ScannedRow | None:
        place, row = read.place, read.row
        document = self._content.read(place, row.document)
        if document is not row.document:  # redacted
            row = row_of(document)
        canonical = row.canonical
        content_key = xxh3_128_digest(question_and_answer(row))
        split_key = xxh3_64_intdigest(self._split_by(row, content_key), self._seed)
        file: Literal["train", "eval"] = "eval" if place.file == "eval" else "train"
        number = -place.row if place.file == "previous" else place.row
        if not self._keys.add(file, xxh3_128_digest(canonical), content_key, split_key, number, place.offset):
            return None
        tag = split_key if self._splits else int.from_bytes(content_key[:8])
        near_duplicates = self._content.compare(place, row.messages, tag, has_answer=read.is_chat)
        for other in near_duplicates if self._splits else ():
            self._keys.group(split_key, other)
        self._counter.measure(row, characters(row))
        return ScannedRow(place, row, canonical)

    def _split_by(self, row: ParsedRow, content_key: bytes) -> bytes:
        return content_key if self._group is None else orjson.dumps(row.item.get(self._group))
