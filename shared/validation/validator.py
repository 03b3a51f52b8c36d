"""The dataset validator: everything wrong with data and recipe in one pass, and the rows a run trains on.

Streams: it holds one chunk and one row; what grows with the number of rows goes to temporary files.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from shared.domain.dataset import Report, Statistics
from shared.domain.errors import PermanentFailure
from shared.domain.planning import check_budget, estimate_cost, resolve
from shared.domain.recipe import NAME_PATTERN, Recipe
from shared.grading import fields
from shared.rendering.facts import TokenFacts
from shared.validation.codes import FEW_ROWS, MIN_ROWS
from shared.validation.content.scan import ContentPolicy, ContentScan
from shared.validation.findings import Findings
from shared.validation.formats import CHAT, Format
from shared.validation.intake import Intake, open_rows
from shared.validation.keys import File, Keys
from shared.validation.lines import Refused, Unreadable
from shared.validation.recipes import read_recipe
from shared.validation.rows import Row, characters, question_and_answer, read_row

_SPOOL_BYTES = 8 * 2**20
_WRITE_BYTES = 2**18
_CSV_ENDS = (".csv", ".csv.gz")
_NOT_BUILT = {
    "preference": "preference pairs (method dpo)",
    "reinforcement": "prompts with fields for a grader (method reinforcement)",
    "text": "plain text without questions (continued pre-training)",
}


@dataclass(frozen=True, slots=True)
class Sink:
    """Where canonical rows go: two binary files open for writing and reading, at position 0."""

    train: BinaryIO
    eval: BinaryIO


@contextmanager
def spooled_sink() -> Iterator[Sink]:
    """A sink in memory up to a few MB a file, beyond that in temporary files that vanish at the end."""
    with _scratch() as train, _scratch() as held_out:
        yield Sink(train, held_out)


@contextmanager
def _scratch() -> Iterator[BinaryIO]:
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
        yield file  # type: ignore[misc]  # has all of BinaryIO that is used


@dataclass(frozen=True, slots=True)
class Validated:
    """`recipe` is None if it has problems; `version` is None if the report did not pass."""

    report: Report
    recipe: Recipe | None
    version: str | None
    rows_read: int  # of both files, blank lines not counted
    tokens: TokenFacts | None = None


def validate(
    train: Iterable[bytes],
    evaluation: Iterable[bytes] | None,
    recipe_text: bytes | None,
    *,
    project: str,
    file_name: str,
    default_base_model: str,
    sink: Sink,
    count_tokens: Callable[[Recipe], TokenFacts] | None = None,
) -> Validated:
    """Check a dataset and its recipe, and write the canonical rows to `sink`, both files rewound.

    `count_tokens`: where the base model's tokenizer is at hand, the rows are counted in its tokens too.

    `train` and `evaluation` are the files in chunks of any size. Without `evaluation` a share of the training
    rows is held out. Row numbers in the report are line numbers from 1. Never raises for what is in the
    files; what `sink` holds is of use only if the report passed.
    """
    findings = Findings()
    _check_names(project, file_name, findings)
    recipe = read_recipe(recipe_text, default_base_model, findings)
    assumed = recipe or Recipe(base_model=default_base_model)
    scan = ContentScan(ContentPolicy(personal_data=assumed.data.personal_data))
    tokens = count_tokens(assumed) if count_tokens else None
    with Keys() as keys:
        check = _Check(findings, assumed, sink, keys, scan, tokens, named_csv=file_name.endswith(_CSV_ENDS))
        if evaluation is None:
            check.carve(train)
        else:
            check.both(train, evaluation)
    findings.take(scan.findings())
    if tokens:
        findings.take(tokens.problems())
    statistics = check.tally.statistics()
    _check_sizes(check, assumed, findings)
    if recipe is not None and not findings.failed:
        _check_plan(recipe, project, statistics, findings)
    report = Report(
        passed=not findings.failed,
        format=check.form.name if check.form else "unknown",
        container=check.container,
        mapping=check.form.mapping if check.form else {},
        problems=findings.problems(),
        statistics=statistics,
        eval_source="carved" if evaluation is None else "file",
    )
    rows_read = sum(check.rows_seen.values())
    return Validated(report, recipe, check.tally.version() if report.passed else None, rows_read, tokens)


def _check_names(project: str, file_name: str, findings: Findings) -> None:
    if not re.fullmatch(NAME_PATTERN, project):
        findings.add("project_name", "train")
    if not file_name.endswith((".jsonl", ".jsonl.gz", *_CSV_ENDS)):
        findings.add("unsupported_file_type", "train")


class _Writer:
    """Rows to a file, many at a time."""

    def __init__(self, file: BinaryIO, *hashes: Any) -> None:
        self._file, self._hashes = file, hashes
        self._pending = bytearray()

    def write(self, canonical: bytes) -> None:
        self._pending += canonical
        if len(self._pending) >= _WRITE_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._pending)
        for digest in self._hashes:
            digest.update(self._pending)
        self._pending.clear()

    def rewind(self) -> None:
        self._flush()
        self._file.seek(0)


class _Tally:
    """Counts and hashes what is written."""

    def __init__(self, sink: Sink) -> None:
        self._hashes = {"train": sha256(), "eval": sha256()}
        self._writers = {
            "train": _Writer(sink.train, self._hashes["train"]),
            "eval": _Writer(sink.eval, self._hashes["eval"]),
        }
        self.rows = {"train": 0, "eval": 0}
        self._messages = self._characters = self._characters_max = 0

    def measure(self, row: Row) -> None:
        size = characters(row)
        self._messages += len(row.messages)
        self._characters += size
        if size > self._characters_max:
            self._characters_max = size

    def write(self, file: File, canonical: bytes) -> None:
        self.rows[file] += 1
        self._writers[file].write(canonical)

    def finish(self) -> None:
        for writer in self._writers.values():
            writer.rewind()

    def version(self) -> str:
        """SHA-256 over the SHA-256 of the training file and that of the held-out file, as hexadecimal."""
        both = self._hashes["train"].digest() + self._hashes["eval"].digest()
        return sha256(both).hexdigest()

    def statistics(self) -> Statistics:
        kept = max(1, self.rows["train"] + self.rows["eval"])
        return Statistics(
            train_rows=self.rows["train"],
            eval_rows=self.rows["eval"],
            messages_mean=round(self._messages / kept, 3),
            characters_mean=round(self._characters / kept, 3),
            characters_max=self._characters_max,
        )


class _Check:
    """One pass over the files."""

    def __init__(
        self,
        findings: Findings,
        recipe: Recipe,
        sink: Sink,
        keys: Keys,
        scan: ContentScan,
        tokens: TokenFacts | None,
        *,
        named_csv: bool,
    ) -> None:
        self.tally = _Tally(sink)
        self._scan, self._tokens = scan, tokens
        self.rows_seen = {"train": 0, "eval": 0}
        self.form: Format | None = None
        self.container = "jsonl"
        self._findings = findings
        self._recipe = recipe
        self._keys = keys
        self._named_csv = named_csv
        self._fields = _needed_fields(recipe)

    def both(self, train: Iterable[bytes], evaluation: Iterable[bytes]) -> None:
        """A training row may not be in the held-out file too."""
        for number, offset, row, canonical in self._rows(evaluation, "eval"):
            self._check_fields(row, "eval", number, offset)
            self.tally.write("eval", canonical)
        for _, _, _, canonical in self._rows(train, "train"):
            self.tally.write("train", canonical)
        self.tally.finish()
        self._note_copies("eval")
        self._note_copies("train")
        for number, offset in self._keys.overlaps():
            self._findings.add("holdout_overlap", "train", number, offset)

    def carve(self, train: Iterable[bytes]) -> None:
        """Any row may be held out, so each has to have what graders and slices read."""
        with _scratch() as scratch:
            rows = _Writer(scratch)
            for number, offset, row, canonical in self._rows(train, "train"):
                self._check_fields(row, "train", number, offset)
                self._check_group(row, number, offset)
                rows.write(canonical)
            rows.rewind()
            for held_out, canonical in zip(self._keys.held_out(self._recipe.data.holdout), scratch, strict=True):
                self.tally.write("eval" if held_out else "train", canonical)
        self.tally.finish()
        self._note_copies("train")

    def _note_copies(self, file: File) -> None:
        for number, offset in self._keys.copies(file):
            self._findings.add("duplicate_row", file, number, offset)

    def _rows(self, chunks: Iterable[bytes], file: File) -> Iterator[tuple[int, int, Row, bytes]]:
        """Line number, offset, row and canonical line of each row without errors; every problem is noted."""
        intake = open_rows(chunks, self._recipe.data.format, named_csv=self._named_csv and file == "train")
        self._note_format(intake, file)
        try:
            yield from self._read(intake, file)
        except Unreadable as error:
            self._findings.add(error.code, file)
            self.rows_seen[file] += 1  # unreadable is not empty
        if not self.rows_seen[file]:
            self._findings.add("empty_dataset", file)

    def _note_format(self, intake: Intake, file: File) -> None:
        if file == "train":
            self.form, self.container = intake.form, intake.container
        if intake.form is not None and intake.form.kind != "chat":
            self._findings.add("method_not_built", file, detail=_NOT_BUILT[intake.form.kind])

    def _read(self, intake: Intake, file: File) -> Iterator[tuple[int, int, Row, bytes]]:
        add, seed = self._findings.add, self._recipe.method.hyperparameters.seed
        form = intake.form or CHAT
        for number, offset, lines in intake.blocks:
            self.rows_seen[file] += len(lines)
            for line in lines:
                row, codes = self._row(line, form)
                for code in codes:
                    add(code, file, number, offset)
                    self.rows_seen[file] -= code == "blank_line"
                if row is not None:
                    self._read_content(row, form, file, number)
                    canonical = row.canonical
                    asked = xxh3_128_digest(question_and_answer(row))
                    draw = xxh3_64_intdigest(self._drawn_by(row, asked), seed)
                    self._keys.add(file, xxh3_128_digest(canonical), asked, draw, number, offset)
                    self.tally.measure(row)
                    yield number, offset, row, canonical
                offset += len(line) + 1
                number += 1

    def _read_content(self, row: Row, form: Format, file: File, number: int) -> None:
        """What the row says, redacted if the recipe wants it so, then in tokens of what is left."""
        if form.kind != "chat":
            return  # refused anyway: no method for it is built
        messages, item = self._scan.row(number, file, row.messages), self._scan.item(number, file, row.item)
        if messages is not row.messages:
            row.messages = row.document["messages"] = messages
        if item is not row.item:
            row.item = row.document["item"] = item
        if self._tokens:
            self._tokens.add(file, number, row.document, characters(row))

    @staticmethod
    def _row(line: bytes | Refused, form: Format) -> tuple[Row | None, Iterable[str]]:
        if isinstance(line, Refused):
            return None, (line.code,)
        if not line or line.isspace():
            return None, ("blank_line",)
        row, codes = read_row(line, form)
        return row, sorted(codes) if codes else ()

    def _drawn_by(self, row: Row, asked: bytes) -> bytes:
        group = self._recipe.data.group
        return asked if group is None else orjson.dumps(row.item.get(group))

    def _check_group(self, row: Row, number: int, offset: int) -> None:
        group = self._recipe.data.group
        if group is not None and group not in row.item:
            self._findings.add("group_field_missing", "train", number, offset, detail=group)

    def _check_fields(self, row: Row, file: File, number: int, offset: int) -> None:
        for code, name in self._fields:
            if name not in row.item:
                self._findings.add(code, file, number, offset, detail=name)


def _needed_fields(recipe: Recipe) -> list[tuple[str, str]]:
    """(code if missing, field) for what graders and slices read; `answer` is the row's own last message."""
    evaluation = recipe.evaluation
    graded = fields(evaluation.graders) - {"answer"}
    needed = [("grader_field_missing", name) for name in sorted(graded)]
    return needed + [("slice_field_missing", name) for name in dict.fromkeys(evaluation.slices)]


def _check_sizes(check: _Check, recipe: Recipe, findings: Findings) -> None:
    rows = check.rows_seen["train"]
    if 0 < rows < MIN_ROWS:
        findings.add("too_few_rows", "train", detail=str(rows))
    elif 0 < rows < FEW_ROWS:
        findings.add("few_rows", "train", detail=str(rows))
    held_out, needed = check.tally.rows["eval"], recipe.evaluation.gate.min_rows
    if not held_out and not findings.failed:
        findings.add("no_holdout", "eval")
    elif held_out < needed and not findings.failed:
        detail = f"{held_out} held-out rows, and evaluation.gate.min_rows asks for {needed}"
        findings.add("few_holdout_rows", "eval", detail=detail)


def _check_plan(recipe: Recipe, project: str, statistics: Statistics, findings: Findings) -> None:
    """What a plan would refuse is said here, with everything else."""
    try:
        resolved = resolve(
            recipe,
            project,
            train_rows=statistics.train_rows,
            characters_max=statistics.characters_max,
        )
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return
    estimate = estimate_cost(
        resolved,
        train_rows=statistics.train_rows,
        eval_rows=statistics.eval_rows,
        characters_mean=statistics.characters_mean,
    )
    for problem in check_budget(recipe, estimate):
        findings.add(problem.code, "recipe", detail=problem.message)
