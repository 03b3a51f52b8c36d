"""The dataset validator: everything wrong with data and recipe in one pass, and the rows a run trains on.

Streams: it holds one chunk and one row; what grows with the number of rows goes to temporary files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from shared.domain.catalog import CATALOG
from shared.domain.dataset import DataQuality, Plan, Report, Statistics
from shared.domain.errors import PermanentFailure
from shared.domain.findings import Findings, ProblemCode
from shared.domain.planning.plan import check_budget
from shared.domain.recipe import NAME_PATTERN, Recipe
from shared.domain.tokens import PreviewRow, TokenStatistics
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES
from shared.rendering.facts import TokenFacts, length_policy
from shared.validation.codes import CODES, FEW_ROWS, MIN_ROWS
from shared.validation.content.codes import CONTENT_CODES
from shared.validation.content.scan import ContentPolicy, ContentScan
from shared.validation.deidentify import Deidentifier, NameFinder, not_searched_for
from shared.validation.examples import Examples, ignored
from shared.validation.held_out import report_labels, report_sizes, split_labels
from shared.validation.keys import Keys
from shared.validation.plan import in_short, plan_run
from shared.validation.reader import ReadRow, RowReader
from shared.validation.recipes import read_recipe
from shared.validation.scanner import RowScanner
from shared.validation.sink import RowCounter, Sink
from shared.validation.split import SplitLabel
from shared.validation.splitter import Splitter

ALL_CODES: Mapping[str, ProblemCode] = {**CODES, **CONTENT_CODES, **TOKEN_CODES}
_TABLE_ENDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


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
    names: Callable[[], NameFinder | None] | None = lambda: None,
    previews: int = 0,
) -> Validated:
    """Check a dataset and its recipe, and write the canonical rows to `sink`, both files rewound.

    `train` and `evaluation` are the files in chunks of any size. Without `evaluation` a share of the training
    rows is held out. Row numbers in the report are line numbers from 1. Never raises for what is in the
    files; what `sink` holds is of use only if the report passed.

    `bundle_of` gives the tokenizer of a base model, None if it is not at hand; without it nothing is counted in
    tokens and no problem of tokens is reported. `earlier` is called only where the recipe appends. `names` gives what
    finds names, called only where the recipe asks for it: None without a model, which is then a problem. Without
    `names` they are not searched for, and a warning says so. `previews` rows are shown as the model reads them.
    """
    findings = Findings(ALL_CODES)
    _check_names(project, file_name, findings)
    read = read_recipe(recipe_text, default_base_model, findings)
    recipe, assumed, splits = read.recipe, read.assumed, evaluation is None
    content = ContentScan(findings, _content_policy(assumed))
    bundle = _bundle(assumed.base_model, bundle_of, findings)
    facts = TokenFacts(findings, bundle, length_policy(assumed), previews) if bundle else None
    before = earlier() if assumed.data.mode == "append" else None
    deidentifier = _deidentifier(assumed, names, findings)
    reader = RowReader(findings, read, named_table=file_name.lower().endswith(_TABLE_ENDS), splits=splits)
    counter = RowCounter(sink)
    with Keys() as keys:
        unique = before is not None
        scanner = RowScanner(findings, assumed, keys, content, counter, splits=splits, unique=unique)
        splitter = Splitter(findings, keys, counter, facts)
        read_rows = chain(reader.rows(before.chunks, "previous") if before else (), reader.rows(train, "train"))
        rows = scanner.scan(deidentifier(read_rows))
        split = None
        if evaluation is None:
            split = splitter.write_split(rows, assumed)
        else:
            splitter.write_both(
                rows, scanner.scan(deidentifier(reader.rows(evaluation, "eval"))), assumed.data.split_group
            )
        labels = report_labels(keys, split, findings)
        labels_by_split = split_labels(keys, labels, split)
    content.finish(classifies=labels.classifies)
    tokens = facts.finish() if facts else None
    statistics = counter.statistics(content.languages)
    if "train" not in reader.unread:  # else how many rows there are is not known
        _check_sizes(reader.rows_read["train"], findings)
    report_sizes(counter.rows["eval"], assumed, split, findings)
    plan = None
    if recipe is not None and not findings.failed:
        plan = _plan(recipe, project, statistics, tokens, findings)
    report = Report(
        passed=not findings.failed,
        format=reader.form.name if reader.form else "unknown",
        container=reader.container,
        mapping=reader.form.mapping if reader.form else {},
        problems=findings.problems(),
        statistics=statistics,
        tokens=tokens,
        plan=plan,
        quality=_quality(scanner.examples, labels_by_split, content, findings),
        eval_source="split" if splits else "file",
        not_searched_for=not_searched_for(assumed.data.deidentify),
    )
    return Validated(
        report,
        recipe,
        counter.version() if report.passed else None,
        sum(reader.rows_read.values()),
        before.version if before else None,
        reader.rows_read["previous"],
        tuple(facts.preview) if facts else (),
    )


def _quality(
    examples: Examples, labels_by_split: tuple[SplitLabel, ...], content: ContentScan, findings: Findings
) -> DataQuality:
    long, short = content.outliers
    return DataQuality(
        ignored=ignored(findings),
        labels=examples.labels(labels_by_split),
        labels_count=len(labels_by_split),
        categories=examples.categories(),
        contradictions=tuple(content.contradictions),
        characters_median=content.characters_median,
        long=long,
        short=short,
    )


def _check_names(project: str, file_name: str, findings: Findings) -> None:
    if not re.fullmatch(NAME_PATTERN, project):
        findings.add("project_name", "train")


def _content_policy(recipe: Recipe) -> ContentPolicy:
    data = recipe.data
    return ContentPolicy(data.personal_data, frozenset(data.personal_data_allowed), data.secrets)


def _deidentifier(
    recipe: Recipe, names: Callable[[], NameFinder | None] | None, findings: Findings
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
    if bundle_of is None or base_model not in CATALOG:  # the license gate reports an unknown one
        return None
    try:
        bundle = bundle_of(base_model)
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return None
    if bundle is None:
        findings.add("tokenizer_missing", "recipe", detail=base_model)
    return bundle


def _check_sizes(rows: int, findings: Findings) -> None:
    if 0 < rows < MIN_ROWS:
        findings.add("too_few_rows", "train", detail=str(rows))
    elif 0 < rows < FEW_ROWS:
        findings.add("few_rows", "train", detail=str(rows))


def _plan(
    recipe: Recipe, project: str, rows: Statistics, tokens: TokenStatistics | None, findings: Findings
) -> Plan | None:
    """What planning would refuse is reported here, with everything else."""
    try:
        resolved, cost = plan_run(recipe, project, rows, tokens)
    except PermanentFailure as error:
        findings.add(error.problem.code, "recipe", detail=error.problem.message)
        return None
    for problem in check_budget(recipe, cost):
        findings.add(problem.code, "recipe", detail=problem.message)
    return in_short(resolved, cost, rows, tokens)
