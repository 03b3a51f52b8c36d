"""The dataset validator: everything wrong with data and recipe in one pass, and the rows a run trains on.

Streams: it holds one chunk and one row; what grows with the number of rows goes to temporary files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from shared.domain.catalog import CATALOG
from shared.domain.dataset import Plan, Report, Statistics
from shared.domain.errors import PermanentFailure
from shared.domain.findings import Findings, Place, ProblemCode
from shared.domain.graders import Grader
from shared.domain.planning.plan import check_budget
from shared.domain.recipe import NAME_PATTERN, Recipe, Reinforcement
from shared.domain.tokens import PreviewRow, TokenStatistics
from shared.grading import fields
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES
from shared.rendering.facts import TokenFacts, length_policy
from shared.validation.codes import CODES, FEW_ROWS, MIN_ROWS
from shared.validation.content.codes import CONTENT_CODES
from shared.validation.content.scan import ContentPolicy, ContentScan
from shared.validation.formats import CHAT, Format
from shared.validation.intake import Intake, open_rows
from shared.validation.keys import Keys
from shared.validation.lines import RefusedLine, Unreadable
from shared.validation.plan import in_short, plan_run
from shared.validation.recipes import ReadRecipe, read_recipe
from shared.validation.rows import ParsedRow, characters, question_and_answer, read_row, row_of
from shared.validation.sink import RowCounter, Sink, Writer, scratch

ALL_CODES: Mapping[str, ProblemCode] = {**CODES, **CONTENT_CODES, **TOKEN_CODES}
_CSV_ENDS = (".csv", ".csv.gz")
_ROWS_OF_KIND = {
    "chat": "questions with answers",
    "text": "plain text",
    "preference": "preference pairs",
    "reinforcement": "prompts with fields for a grader",
}
_KINDS_OF_METHOD = {"supervised": ("chat", "text"), "dpo": ("preference",), "reinforcement": ("reinforcement",)}


@dataclass(frozen=True, slots=True)
class Earlier:
    """The version that new rows are appended to: its hash, and its rows in chunks."""

    version: str
    chunks: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Validated:
    """`recipe` is None if it has problems; `version` is None if the report did not pass."""

    report: Report
    recipe: Recipe | None
    version: str | None
    rows_read: int  # of all files, blank lines not counted
    appended_to: str | None = None
    rows_appended_to: int = 0
    preview: tuple[PreviewRow, ...] = ()


def validate(
    train: Iterable[bytes],
    evaluation: Iterable[bytes] | None,
    recipe_text: bytes | None,
    *,
    project: str,
    file_name: str,
    default_base_model: str,
    sink: Sink,
    bundle_of: Callable[[str], Bundle | None] | None = None,
    earlier: Callable[[], Earlier | None] = lambda: None,
    previews: int = 0,
) -> Validated:
    """Check a dataset and its recipe, and write the canonical rows to `sink`, both files rewound.

    `train` and `evaluation` are the files in chunks of any size. Without `evaluation` a share of the training
    rows is held out. Row numbers in the report are line numbers from 1. Never raises for what is in the
    files; what `sink` holds is of use only if the report passed.

    `bundle_of` gives the tokenizer of a base model, None if it is not at hand; without it nothing is counted in
    tokens and nothing is said of it. `earlier` is asked for only where the recipe appends. `previews` rows are
    shown as the model reads them.
    """
    findings = Findings(ALL_CODES)
    _check_names(project, file_name, findings)
    read = read_recipe(recipe_text, default_base_model, findings)
    recipe, assumed = read.recipe, read.assumed
    scan = ContentScan(findings, _content_policy(assumed))
    bundle = _bundle(assumed.base_model, bundle_of, findings)
    facts = TokenFacts(findings, bundle, length_policy(assumed), previews) if bundle else None
    before = earlier() if assumed.data.mode == "append" else None
    with Keys(unique=before is not None) as keys:
        check = _Check(findings, read, sink, keys, scan, facts, named_csv=file_name.endswith(_CSV_ENDS))
        check.read(train, evaluation, before)
    scan.finish()
    tokens = facts.finish() if facts else None
    statistics = check.tally.statistics(scan.languages)
    _check_sizes(check, assumed, findings)
    plan = None
    if recipe is not None and not findings.failed:
        plan = _plan(recipe, project, statistics, tokens, findings)
    report = Report(
        passed=not findings.failed,
        format=check.form.name if check.form else "unknown",
        container=check.container,
        mapping=check.form.mapping if check.form else {},
        problems=findings.problems(),
        statistics=statistics,
        tokens=tokens,
        plan=plan,
        eval_source="split" if evaluation is None else "file",
    )
    return Validated(
        report,
        recipe,
        check.tally.version() if report.passed else None,
        sum(check.rows_seen.values()),
        before.version if before else None,
        check.rows_seen["previous"],
        tuple(facts.preview) if facts else (),
    )


def _check_names(project: str, file_name: str, findings: Findings) -> None:
    if not re.fullmatch(NAME_PATTERN, project):
        findings.add("project_name", "train")
    if not file_name.endswith((".jsonl", ".jsonl.gz", *_CSV_ENDS)):
        findings.add("unsupported_file_type", "train")


def _content_policy(recipe: Recipe) -> ContentPolicy:
    data = recipe.data
    return ContentPolicy(data.personal_data, frozenset(data.personal_data_allowed), data.secrets)


def _bundle(base_model: str, bundle_of: Callable[[str], Bundle | None] | None, findings: Findings) -> Bundle | None:
    if bundle_of is None or base_model not in CATALOG:  # that it is unknown, the recipe's check says
        return None
    try:
        bundle = bundle_of(base_model)
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return None
    if bundle is None:
        findings.add("tokenizer_missing", "recipe", detail=base_model)
    return bundle


class _Check:
    """One pass over the files."""

    def __init__(
        self,
        findings: Findings,
        recipe: ReadRecipe,
        sink: Sink,
        keys: Keys,
        scan: ContentScan,
        tokens: TokenFacts | None,
        *,
        named_csv: bool,
    ) -> None:
        self.tally = RowCounter(sink)
        self._scan, self._tokens = scan, tokens
        self.rows_seen = {"train": 0, "eval": 0, "previous": 0}
        self.form: Format | None = None
        self.container = "jsonl"
        self._findings = findings
        self._recipe, self._method_known = recipe.assumed, recipe.method_known
        self._keys = keys
        self._named_csv = named_csv
        self._carves = False

    def read(self, train: Iterable[bytes], evaluation: Iterable[bytes] | None, before: Earlier | None) -> None:
        """All files, held-out rows first and rows of an earlier version before new ones."""
        self._carves = evaluation is None
        files = [(train, "train")] if before is None else [(before.chunks, "previous"), (train, "train")]
        rows = (row for chunks, file in files for row in self._rows(chunks, file))
        if evaluation is None:
            self._carve(rows)
        else:
            self._both(rows, self._rows(evaluation, "eval"))
        self._note_copies("train")

    def _both(
        self, train: Iterator[tuple[Place, ParsedRow, bytes]], evaluation: Iterator[tuple[Place, ParsedRow, bytes]]
    ) -> None:
        """A training row may not be in the held-out file too."""
        for place, row, canonical in evaluation:
            self._count_tokens(place, row.document, characters(row), held_out=True)
            self.tally.write("eval", canonical)
        for place, row, canonical in train:
            self._count_tokens(place, row.document, characters(row), held_out=False)
            self.tally.write("train", canonical)
        self.tally.finish()
        self._note_copies("eval")
        for number, offset in self._keys.overlaps():
            self._findings.add("train_eval_overlap", *_place(number, offset))

    def _carve(self, train: Iterator[tuple[Place, ParsedRow, bytes]]) -> None:
        """Which rows are held out is known once all were read."""
        with scratch() as file:
            rows = Writer(file)
            for _, _, canonical in train:
                rows.write(canonical)
            rows.rewind()
            together, sides = self._keys.carved(self._recipe.data.validation_split)
            if not together:
                self._findings.add("near_duplicates_split", "train")
            for (number, offset, held_out), canonical in zip(sides, file, strict=True):
                if self._tokens:
                    place = _place(number, offset)
                    self._count_tokens(place, orjson.loads(canonical), len(canonical), held_out=bool(held_out))
                self.tally.write("eval" if held_out else "train", canonical)
        self.tally.finish()

    def _count_tokens(self, place: Place, document: dict[str, Any], size: int, *, held_out: bool) -> None:
        if self._tokens:
            self._tokens.add(place, document, size, held_out=held_out)

    def _note_copies(self, file: Literal["train", "eval"]) -> None:
        for number, offset in self._keys.copies(file):
            self._findings.add("duplicate_row", file, number, offset)

    def _rows(self, chunks: Iterable[bytes], file: str) -> Iterator[tuple[Place, ParsedRow, bytes]]:
        """Place, row and canonical line of each row without errors; every problem is noted."""
        wanted = "auto" if file == "previous" else self._recipe.data.format
        intake = open_rows(chunks, wanted, named_csv=self._named_csv and file == "train")
        self._note_format(intake, file)
        try:
            yield from self._read(intake, file)
        except Unreadable as error:
            self._findings.add(error.code, file)
            self.rows_seen[file] += 1  # unreadable is not empty
        if not self.rows_seen[file]:
            self._findings.add("empty_dataset", file)

    def _note_format(self, intake: Intake, file: str) -> None:
        if file == "train":
            self.form, self.container = intake.form, intake.container
        if intake.form is None:
            return
        kind, method = intake.form.kind, self._recipe.method.type
        if not self._method_known:
            return
        if kind not in _KINDS_OF_METHOD[method]:
            detail = f"{_ROWS_OF_KIND[kind]}, and method.type is {method}"
            self._findings.add("method_data_mismatch", file, detail=detail)
        elif kind == "text" and (self._carves or file == "eval"):
            self._findings.add("text_not_evaluable", file)

    def _read(self, intake: Intake, file: str) -> Iterator[tuple[Place, ParsedRow, bytes]]:
        add = self._findings.add
        form = intake.form or CHAT
        needed = self._needed_fields(file)
        for number, offset, lines in intake.blocks:
            self.rows_seen[file] += len(lines)
            for line in lines:
                row, codes = self._row(line, form)
                for code in codes:
                    add(code, file, number, offset)
                    self.rows_seen[file] -= code == "blank_line"
                if row is not None:
                    place = Place(file, number, offset)
                    for code, name in needed:
                        if name not in row.item:
                            add(code, file, number, offset, detail=name)
                    row, canonical, new = self._take(place, row, judged=form.kind == "chat")
                    if new:
                        yield place, row, canonical
                    elif file == "train":
                        add("duplicate_row_dropped", file, number, offset)
                offset += len(line) + 1
                number += 1

    @staticmethod
    def _row(line: bytes | RefusedLine, form: Format) -> tuple[ParsedRow | None, Iterable[str]]:
        if isinstance(line, RefusedLine):
            return None, (line.code,)
        if not line or line.isspace():
            return None, ("blank_line",)
        row, codes = read_row(line, form)
        return row, sorted(codes) if codes else ()

    def _take(self, place: Place, row: ParsedRow, *, judged: bool) -> tuple[ParsedRow, bytes, bool]:
        """What the row says, redacted if the recipe wants it so; its keys; whether it was not there before."""
        document = self._scan.read(place, row.document)
        if document is not row.document:
            row = row_of(document)
        canonical = row.canonical
        asked = xxh3_128_digest(question_and_answer(row))
        draw = xxh3_64_intdigest(self._drawn_by(row, asked), self._recipe.method.hyperparameters.seed)
        file: Literal["train", "eval"] = "eval" if place.file == "eval" else "train"
        number = -place.row if place.file == "previous" else place.row
        if not self._keys.add(file, xxh3_128_digest(canonical), asked, draw, number, place.offset):
            return row, canonical, False
        tag = draw if self._carves else int.from_bytes(asked[:8])
        copies = self._scan.compare(place, row.messages, tag, judged=judged)
        for other in copies if self._carves else ():
            self._keys.join(draw, other)
        self.tally.measure(row, characters(row))
        return row, canonical, True

    def _drawn_by(self, row: ParsedRow, asked: bytes) -> bytes:
        group = self._recipe.data.split_group
        return asked if group is None else orjson.dumps(row.item.get(group))

    def _needed_fields(self, file: str) -> list[tuple[str, str]]:
        """(code if missing, field) for what is read of the rows of a file; any row may be carved out."""
        method, data = self._recipe.method, self._recipe.data
        needed: list[tuple[str, str]] = []
        if isinstance(method, Reinforcement):
            needed += _graded_fields(method.graders)
        if file == "eval" or self._carves:
            evaluation = self._recipe.evaluation
            # A prompt has no answer; of another row `answer` is its own last message.
            given = set() if isinstance(method, Reinforcement) else {"answer"}
            needed += [one for one in _graded_fields(evaluation.graders) if one[1] not in given]
            needed += [("slice_field_missing", name) for name in evaluation.slices]
        if self._carves and data.split_group is not None:
            needed.append(("split_group_field_missing", data.split_group))
        return list(dict.fromkeys(needed))


def _graded_fields(graders: Sequence[Grader]) -> list[tuple[str, str]]:
    return [("grader_field_missing", name) for name in sorted(fields(graders))]


def _place(number: int, offset: int) -> Place:
    """Negative numbers are of rows of the earlier version."""
    return Place("train", number, offset) if number > 0 else Place("previous", -number, offset)


def _check_sizes(check: _Check, recipe: Recipe, findings: Findings) -> None:
    rows = check.rows_seen["train"]
    if 0 < rows < MIN_ROWS:
        findings.add("too_few_rows", "train", detail=str(rows))
    elif 0 < rows < FEW_ROWS:
        findings.add("few_rows", "train", detail=str(rows))
    held_out, needed = check.tally.rows["eval"], recipe.evaluation.gate.min_rows
    if not held_out and not findings.failed:
        findings.add("no_eval_rows", "eval")
    elif held_out < needed and not findings.failed:
        detail = f"{held_out} held-out rows, and evaluation.gate.min_rows asks for {needed}"
        findings.add("few_eval_rows", "eval", detail=detail)


def _plan(
    recipe: Recipe, project: str, rows: Statistics, tokens: TokenStatistics | None, findings: Findings
) -> Plan | None:
    """What a plan would refuse is said here, with everything else."""
    try:
        resolved, cost = plan_run(recipe, project, rows, tokens)
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return None
    for problem in check_budget(recipe, cost):
        findings.add(problem.code, "recipe", detail=problem.message)
    return in_short(resolved, cost, rows, tokens)
