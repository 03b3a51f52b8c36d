"""The dataset validator: everything wrong with data and recipe in one pass, and the rows a run trains on. It holds one
chunk and one row; what grows with the number of rows goes to temporary files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from shared.domain.beside import read_beside
from shared.domain.catalog import known_entry
from shared.domain.dataset import DataQuality, Ignored, Outliers, Report
from shared.domain.errors import PermanentFailure
from shared.domain.findings import Findings, ProblemCode
from shared.domain.planning.plan import check_budget
from shared.domain.recipe import Deidentify, Recipe, is_name
from shared.domain.tokens import PreviewRow
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES, TokenFacts, length_policy
from shared.validation.codes import CODES, CONTENT_CODES, FEW_ROWS, MIN_ROWS
from shared.validation.content.scan import ContentScan
from shared.validation.deidentify import Deidentifier, NameFinder, not_searched_for
from shared.validation.examples import Examples, ignored
from shared.validation.fields import REFUSED_KEYS
from shared.validation.held_out import (
    held_out_groups,
    report_distance,
    report_labels,
    report_sizes,
    report_slices,
    split_labels,
)
from shared.validation.keys import Keys
from shared.validation.plan import in_short, plan_run
from shared.validation.reader import ReadRow, RowReader
from shared.validation.recipes import ReadRecipe, read_recipe
from shared.validation.scanner import RowScanner, Splitter
from shared.validation.sink import RowCounter, Sink
from shared.validation.split import Split, SplitLabel

ALL_CODES: Mapping[str, ProblemCode] = {**CODES, **CONTENT_CODES, **TOKEN_CODES}
_TABLE_ENDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
Chunks = Iterable[bytes]
Names = Callable[[], NameFinder | None]


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
    eval_sha256: str
    rows_read: int  # of all files, blank lines not counted
    appended_to: str | None = None
    rows_appended_to: int = 0
    preview: tuple[PreviewRow, ...] = ()


def validate(
    train: Chunks,
    evaluation: Chunks | None,
    recipe_text: bytes | None,
    *,
    project: str,
    file_name: str,
    default_base_model: str,
    sink: Sink,
    bundle_of: Callable[[str], Bundle | None] | None = None,
    earlier: Callable[[], Earlier | None] = lambda: None,
    names: Names | None = lambda: None,
    previews: int = 0,
) -> Validated:
    """Check a dataset and its recipe, and write the canonical rows to `sink`, both files rewound. Never raises for what
    is in the files, which come in chunks of any size; without `evaluation` a share of the rows is held out.
    `bundle_of`: the tokenizer of a base model, None if not at hand; without it nothing is counted in tokens. `earlier`
    is called where the recipe appends, `names` where it asks for names: None without a model is a problem; without
    `names` a warning says that nothing was searched. `previews`: rows shown as the model reads them."""
    findings = Findings(ALL_CODES)
    if not is_name(project):
        findings.add("project_name", "train")
    read = read_recipe(recipe_text, default_base_model, findings)
    bundle = _bundle(read.assumed.base_model, bundle_of, findings) if read.knows("base_model") else None
    tokens = TokenFacts(findings, bundle, length_policy(read.assumed), previews) if bundle else None
    before = earlier() if read.assumed.data.mode == "append" else None
    is_table = file_name.lower().endswith(_TABLE_ENDS)
    run = _Validation(findings, read, sink, tokens, named_table=is_table, splits=evaluation is None)
    run.read(train, evaluation, before, names)
    report = run.report(project)
    return Validated(
        report,
        read.recipe,
        run.counter.version() if report.passed else None,
        run.counter.eval_sha256(),
        sum(run.reader.rows_read.values()),
        before.version if before else None,
        run.reader.rows_read["previous"],
        tuple(tokens.preview) if tokens else (),
    )


class _Validation:
    """First `read`, then `report`. `splits`: a share of the training rows is held out."""

    def __init__(
        self,
        findings: Findings,
        recipe: ReadRecipe,
        sink: Sink,
        tokens: TokenFacts | None,
        *,
        named_table: bool,
        splits: bool,
    ) -> None:
        self._findings, self._recipe, self._tokens, self._splits = findings, recipe, tokens, splits
        self._content = ContentScan(findings, recipe.assumed.data)
        self._examples = Examples(recipe.assumed.evaluation.slices, self._content.rows.is_plain)
        self._split: Split | None = None
        self._eval_copies = 0
        self._labels: tuple[SplitLabel, ...] = ()
        self._searched_for: Deidentify | None = None
        self.reader = RowReader(findings, recipe, named_table=named_table, splits=splits)
        self.counter = RowCounter(sink)

    def read(self, train: Chunks, evaluation: Chunks | None, before: Earlier | None, names: Names | None) -> None:
        recipe, reader = self._recipe.assumed, self.reader
        earlier = reader.rows(before.chunks, "previous") if before else ()
        deidentifier = _deidentifier(recipe, names, self._findings)
        self._searched_for = recipe.data.deidentify if deidentifier is not iter else None
        with Keys() as keys:
            of_rows = (self._content, self._examples, self.counter)
            scanner = RowScanner(self._findings, recipe, keys, *of_rows, self._splits, before is not None)
            splitter = Splitter(self._findings, keys, self.counter, self._tokens)
            rows = scanner.scan(deidentifier(chain(earlier, reader.rows(train, "train"))))
            if evaluation is None:
                self._split = splitter.write_split(rows, recipe)
            else:
                held_out = scanner.scan(deidentifier(reader.rows(evaluation, "eval")))
                splitter.write_both(rows, held_out, recipe.data.split_group)
            self._eval_copies = keys.eval_copies()
            report_slices(self.counter.sink.eval, recipe.evaluation.slices, self._findings)
            self._groups = held_out_groups(self.counter.sink.eval, recipe.data.split_group)
            self._distance = report_distance(self.counter, recipe.evaluation.gate, self._findings)
            labels = report_labels(keys, self._split, self._examples.named, self._findings)
            self._labels = split_labels(keys, labels, self._split)
        self._examples.report_spellings(self._labels, self._findings)
        self._content.finish(classifies=labels.classifies, few_labels=labels.few)

    def report(self, project: str) -> Report:
        findings, reader, recipe = self._findings, self.reader, self._recipe.recipe
        tokens = self._tokens.finish() if self._tokens else None
        statistics = self.counter.statistics(self._content.languages.counts)
        if "train" not in reader.unread:  # else how many rows there are is not known
            rows = reader.rows_read["train"]
            if 0 < rows < FEW_ROWS:
                findings.add("too_few_rows" if rows < MIN_ROWS else "few_rows", "train", detail=str(rows))
        held_out = self.counter.rows["eval"]
        report_sizes(held_out, self._eval_copies, self._recipe.assumed, self._split, findings, self._groups)
        unread = ignored(findings)
        findings.leave_out_again("ignored_field", {*REFUSED_KEYS, "text_with_labels", "labels_not_learned"})
        findings.leave_out(consequences(self._recipe) | followers(findings.codes))
        plan = None
        if recipe is not None and not findings.failed:
            independent = held_out if self._groups is None else self._groups
            try:
                resolved, cost = plan_run(recipe, project, statistics, tokens)
            except PermanentFailure as error:  # what planning would refuse is reported here, with everything else
                findings.add(error.problem.code, "recipe", detail=error.problem.message)
            else:
                for problem in check_budget(recipe, cost):
                    findings.add(problem.code, "recipe", detail=problem.message)
                plan = in_short(resolved, cost, statistics, tokens, independent)
        return Report(
            passed=not findings.failed,
            format=reader.form.name if reader.form else "unknown",
            container=reader.container,
            mapping=reader.form.mapping if reader.form else {},
            problems=findings.problems(),
            statistics=statistics,
            tokens=tokens,
            plan=plan,
            quality=self._quality(unread),
            eval_source="split" if self._splits else "file",
            not_searched_for=not_searched_for(self._searched_for),
        )

    def _quality(self, unread: tuple[Ignored, ...]) -> DataQuality:
        quality = self._content.quality
        both = (quality.outliers(), quality.short_outliers())
        long, short = (Outliers(count=count, rows=tuple(row for row in rows if row > 0)) for count, rows in both)
        return DataQuality(
            ignored=unread,
            labels=self._examples.labels(self._labels),
            labels_count=len(self._labels),
            categories=self._examples.categories(),
            contradictions=tuple(self._content.contradictions),
            characters_median=quality.median_characters,
            distance=self._distance,
            long=long,
            short=short,
        )


def _deidentifier(
    recipe: Recipe, names: Names | None, findings: Findings
) -> Callable[[Iterable[ReadRow]], Iterable[ReadRow]]:
    """What rows go through on their way from the reader."""
    requested = recipe.data.deidentify
    finder = names() if requested and names else None
    if requested is None or finder is None:
        if requested:
            findings.add("name_model_missing" if names else "name_not_searched", "recipe")
        return iter
    sorting = {*recipe.evaluation.slices, *([recipe.data.split_group] if recipe.data.split_group else [])}
    return Deidentifier(finder, requested, sorting, findings).rows


def _bundle(base_model: str, bundle_of: Callable[[str], Bundle | None] | None, findings: Findings) -> Bundle | None:
    if bundle_of is None or known_entry(base_model) is None:  # the license gate reports an unknown one
        return None
    try:
        bundle = bundle_of(base_model)
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return None
    if bundle is None:
        findings.add("tokenizer_missing", "recipe", detail=base_model)
    return bundle


_TABLES = read_beside(__file__, "consequences.toml")
DECIDED_BY = {
    setting: frozenset(code for group in groups.split() for code in _TABLES["groups"][group].split())
    for setting, groups in _TABLES["settings"].items()
}
_FOLLOW = {code: frozenset(others.split()) for code, others in _TABLES["follow"].items()}


def followers(codes: Iterable[str]) -> frozenset[str]:
    """The codes of findings that only follow from these."""
    return frozenset().union(*(_FOLLOW.get(code, ()) for code in codes))


def consequences(recipe: ReadRecipe) -> frozenset[str]:
    """The codes of findings that may be there only because a setting is not known."""
    return frozenset().union(*(DECIDED_BY[name] for name in DECIDED_BY if not recipe.knows(*name.split("."))))
