"""Rows that were read, one by one: redacted, keyed, compared with those before, counted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from shared.domain.catalog import known_entry
from shared.domain.findings import Findings, Place
from shared.domain.recipe import Recipe
from shared.domain.row_fields import group_of
from shared.rendering.check import TokenFacts
from shared.validation import compared
from shared.validation.compared import label_key, plain_label, tools_of
from shared.validation.containers import spooled
from shared.validation.content.damage import DAMAGED, damage_of
from shared.validation.content.quality import kind_of
from shared.validation.content.row_scan import Found
from shared.validation.content.scan import ContentScan
from shared.validation.examples import Examples
from shared.validation.keys import Keys, RowKeys
from shared.validation.reader import ReadRow
from shared.validation.rows import ParsedRow, extent_of, row_of
from shared.validation.sink import RowCounter
from shared.validation.split import Split, assignments, split_rows


class ScannedRow(NamedTuple):
    """A row as it is written. `canonical`: one line with its line feed. `characters`: as `Extent` has them."""

    place: Place
    row: ParsedRow
    canonical: bytes
    characters: int


@dataclass
class RowScanner:
    """`splits`: rows are held out of the training rows. `unique`: of equal training rows the first is taken."""

    findings: Findings
    recipe: Recipe
    keys: Keys
    content: ContentScan
    examples: Examples
    counter: RowCounter
    splits: bool
    unique: bool

    def __post_init__(self) -> None:
        base = known_entry(self.recipe.base_model)
        self._base_without_tools = base.id if base and base.tool_parser is None else None
        self._seed, self._group = self.recipe.method.hyperparameters.seed, self.recipe.data.split_group
        self._reference = compared.reference_of(self.recipe)

    def scan(self, rows: Iterable[ReadRow]) -> Iterator[ScannedRow]:
        """The rows that are kept: where equal ones are dropped (data.mode: append), the first of each."""
        for read in rows:
            found = self._scan(read)
            if found is not None:
                yield found
            elif read.place.file == "train":
                self.findings.add("duplicate_row_dropped", *read.place)

    def _scan(self, read: ReadRow) -> ScannedRow | None:
        place, row = read.place, read.row
        document = self.content.read(place, row.document)
        if document is not row.document:  # redacted
            row = row_of(document)
        label = compared.label_of(row, self._reference)
        damage = _damage(row, "" if read.is_chat else label)
        self.content.note(place, [*damage, *self.content.rows.find_harmful(row)])
        canonical = row.canonical
        row_key = xxh3_128_digest(canonical)
        if self.unique and place.file != "eval" and self.keys.is_known(row_key):
            return None
        self.keys.add(place.part, self._keys_of(read, row, row_key, label))
        extent = extent_of(row)
        self.counter.measure(extent)
        if self._base_without_tools and tools_of(row.document):
            self.findings.add("tools_not_served", *place, detail=self._base_without_tools)
        return ScannedRow(place, row, canonical, extent.characters)

    def _keys_of(self, read: ReadRow, row: ParsedRow, row_key: bytes, label: str) -> RowKeys:
        """Also takes the row into the comparison with all others. `label`: as it is written."""
        place, content, tools = read.place, compared.content_of(row), tools_of(row.document)
        held_out = place.file == "eval"
        statement = None if read.is_chat or held_out else compared.statement_of(row, self._reference)
        dialogue = self.content.rows.dialogue(
            row.messages, tools, has_answer=read.is_chat, held_out=held_out, statement=statement
        )
        sketch = self.content.place(place, dialogue, int.from_bytes(content.key[:8]))
        if dialogue and not self.splits and "text" not in row.document:
            self.content.kinds[place.part][kind_of(dialogue.language, row.messages, tools)] += 1
        if not held_out:
            self.examples.add(place.number, row.item)
        values = compared.answer_fields(row, self._reference)
        fields = [(name, label_key(f"{name}\0{plain_label(value)}")) for name, value in values]
        key = label_key(plain_label(label))
        for text, one in ((label, key), *((value, one) for (_, value), (_, one) in zip(values, fields, strict=True))):
            if one:
                self.examples.add_label(0 if held_out else place.number, one, text)
        # A row without a group is of none: an error where rows are split, and nothing to compare elsewhere.
        group = None if self._group is None else group_of(row.item, self._group)
        return RowKeys(
            row=row_key,
            content=content.key,
            split=xxh3_64_intdigest(content.key if group is None else group, self._seed),
            label=key,
            number=place.number,
            offset=place.offset,
            sketch=sketch if self.splits else None,
            turn=content.turn,
            earlier=content.earlier,
            fields=tuple(fields),
        )


def _damage(row: ParsedRow, label: str) -> Iterator[Found]:
    """What was destroyed in the texts of a row, each kind once. `label`: of a row without an answer, by its grader."""
    answers = [*row.messages, *row.document.get("non_preferred_output", ())]
    missing = not label.strip() or (label == "null" and None in row.item.values())  # reported as a grader's field
    if not missing and answers[-1]["role"] != "assistant":
        answers.append({"role": "assistant", "content": label})
    for kind, number in sorted(dict(reversed([*damage_of(answers)])).items()):
        is_message = "messages" in row.document and number < len(row.messages)
        yield DAMAGED, kind, f"messages[{number}].content" if is_message else ""


class Splitter:
    """Writes to `counter`'s files, and counts tokens where a tokenizer is available."""

    def __init__(self, findings: Findings, keys: Keys, counter: RowCounter, tokens: TokenFacts | None) -> None:
        self._findings, self._keys, self._counter, self._tokens = findings, keys, counter, tokens

    def write_both(self, train: Iterable[ScannedRow], evaluation: Iterable[ScannedRow], group: str | None) -> None:
        """Two files that may share no row, and no value of the field `group`."""
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
        with spooled(()) as file:
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
