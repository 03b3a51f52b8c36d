"""Grader specs compiled to scoring functions. Everything wrong with a spec raises here, before any answer exists."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from shared.domain import graders
from shared.grading import ready
from shared.grading.errors import AnswerUnreadable, BadGrader, GradingErrorCode, GradingFailed
from shared.grading.formula import Formula
from shared.grading.grounded import grounded
from shared.grading.llm_judge import Ask, LlmJudge, no_judge
from shared.grading.ready import facts_score
from shared.grading.sandbox import IsolatedGraders, Sandbox
from shared.grading.similarity import similarity
from shared.grading.templates import Item, Pattern, Sample, Template, groups

At = tuple[Sample, Item]
# The score of a text (the filled `input`), and the templates beside the input that it reads.
Reads = Sequence[Template | Pattern]
CompiledScore = tuple[Callable[[str, At], float], Reads]


@dataclass(frozen=True)
class Compiled:
    """One grader: `score` gives 0 to 1 or raises GradingFailed; the row fields it reads, and the `optional`, where they
    are there (None: any). `judges` are consulted before. The formula of a multi is over the scores of its `parts`."""

    fields: frozenset[str]
    score: Callable[[Sample, Item], float] | Formula
    optional: frozenset[str] | None = frozenset()
    close: Callable[[], None] = lambda: None
    judges: tuple[LlmJudge, ...] = ()
    parts: Mapping[str, "Compiled"] = field(default_factory=dict)


def compile_grader(spec: graders.Grader, ask: Ask = no_judge, isolated: IsolatedGraders | None = None) -> Compiled:
    """`ask` reaches the judges; `isolated` scores in this one's place. Raises BadGrader with what can never work."""
    if not isinstance(spec, graders.Multi):
        return _compile_simple(spec, ask, isolated)
    parts = {}
    for name, part in spec.graders.items():
        try:
            parts[name] = _compile_simple(part, ask, isolated)
        except BadGrader as error:
            raise BadGrader(f"graders.{name}.{error.setting}", error.message) from error
    try:
        formula = Formula(spec.calculate_output, parts)
    except ValueError as error:
        raise BadGrader("calculate_output", str(error)) from error
    every = parts.values()
    known = [part.optional for part in every if part.optional is not None]
    optional = frozenset[str]().union(*known) if len(known) == len(parts) else None

    def close() -> None:
        for part in every:
            part.close()

    judges = tuple(judge for part in every for judge in part.judges)
    return Compiled(frozenset[str]().union(*(part.fields for part in every)), formula, optional, close, judges, parts)


def _compile_simple(spec: graders.SimpleGrader, ask: Ask, isolated: IsolatedGraders | None) -> Compiled:
    if isinstance(spec, graders.PythonGrader):
        return _python(spec)
    if isinstance(spec, graders.ScoreModel):
        judge = LlmJudge(spec, ask)
        return Compiled(judge.fields, judge.score, judges=(judge,))
    how, reads = _BUILDERS[type(spec)](spec)
    source = Template("input", spec.input)

    def score(sample: Sample, item: Item) -> float:
        return how(source.text(sample, item).strip(), (sample, item))

    fields = frozenset[str]().union(source.fields, *(part.fields for part in reads))
    if isolated is None:
        return Compiled(fields, score)
    return Compiled(fields, isolated.add(spec, fields), close=isolated.close)


_OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "like": operator.contains,
    "ilike": lambda text, expected: expected.casefold() in text.casefold(),
}


def _string_check(spec: graders.StringCheck) -> CompiledScore:
    reference, compare = Template("reference", spec.reference), _OPERATIONS[spec.operation]
    return lambda text, at: float(compare(text, reference.text(*at).strip())), [reference]


def _text_similarity(spec: graders.TextSimilarity) -> CompiledScore:
    reference = Template("reference", spec.reference)
    return lambda text, at: similarity(spec.evaluation_metric, text, reference.text(*at).strip()), [reference]


def _regex(spec: graders.Regex) -> CompiledScore:
    pattern = Pattern("pattern", spec.pattern)
    return lambda text, at: float(pattern.of(*at).search(text) is not None), [pattern]


def _citation(spec: graders.Citation) -> CompiledScore:
    pattern, reference = Pattern("pattern", spec.pattern), Template("reference", spec.reference)

    def score(text: str, at: At) -> float:
        find, expected = pattern.of(*at), reference.value(*at)
        return ready.cited(ready.cites_of(text, find), ready.cites_of(expected, find), spec.measure)

    return score, [pattern, reference]


def _json_schema(spec: graders.JsonSchema) -> CompiledScore:
    from shared.grading.schema import Schema  # jsonschema is the largest import of all graders

    try:
        schema = Schema(spec.json_schema)
    except ValueError as error:
        raise BadGrader("json_schema", str(error)) from error
    return lambda text, at: float(schema.holds(Sample(text).output_json)), []


def labels_read(spec: graders.Label, texts: Sequence[str], items: Sequence[Item]) -> list[tuple[str | None, str]]:
    """For each answer the one label it names, None if it names none or several, and the row's."""
    read, _ = _label_reader(spec)
    source, found = Template("input", spec.input), []
    for text, item in zip(texts, items, strict=True):
        with suppress(GradingFailed):  # of the row: such a one fails the gate
            try:
                filled = source.text(sample := Sample(text), item).strip()
            except AnswerUnreadable:
                filled = ""
            found.append(read(filled, (sample, item)))
    return found


def _label_reader(spec: graders.Label) -> tuple[Callable[[str, At], tuple[str | None, str]], Reads]:
    reference = Template("reference", spec.reference)
    pattern = Pattern("pattern", spec.pattern, needs_group=True) if spec.pattern else None
    labels = [ready.plain(label) for label in spec.labels]

    def read(text: str, at: At) -> tuple[str | None, str]:
        expected = ready.plain(reference.text(*at))
        if expected not in labels:
            raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, "the row's reference is not one of the labels")
        if pattern is None:
            named = ready.labels_named(text, spec.labels)
        else:
            named = {ready.plain(groups(match)[0]) for match in pattern.of(*at).finditer(text)}
        return named.pop() if len(named) == 1 and named.issubset(labels) else None, expected

    return read, [reference] if pattern is None else [reference, pattern]


def _label(spec: graders.Label) -> CompiledScore:
    read, reads = _label_reader(spec)
    labels = [ready.plain(label) for label in spec.labels]

    def score(text: str, at: At) -> float:
        named, expected = read(text, at)
        if named is None:
            return 0.0
        above = labels.index(named) - labels.index(expected)
        return float({"exact": above == 0, "not_below": above >= 0, "not_above": above <= 0}[spec.measure])

    return score, reads


def _reading_level(spec: graders.ReadingLevel) -> CompiledScore:
    return lambda text, at: ready.reading_level(text, spec.max_grade), []


def _step_order(spec: graders.StepOrder) -> CompiledScore:
    before, reference = Template("before", spec.before), Template("reference", spec.reference)
    return lambda text, at: float(ready.are_steps(text, before.text(*at), reference.value(*at))), [before, reference]


def _facts(spec: graders.FactsGrader) -> CompiledScore:
    reference = Template("reference", spec.reference)

    def score(text: str, at: At) -> float:
        return facts_score(Sample(text).output_json, reference.value(*at), spec.slots, spec.measure)

    return score, [reference]


def _grounded(spec: graders.Grounded) -> CompiledScore:
    source = Template("source", spec.source)
    return lambda text, at: grounded(text, source.value(*at), names=spec.capitalized), [source]


def _brier(spec: graders.Brier) -> CompiledScore:
    reference = Template("reference", spec.reference)
    pattern = Pattern("pattern", spec.pattern, needs_group=True) if spec.pattern else None

    def score(text: str, at: At) -> float:
        given = [text] if pattern is None else [groups(match)[0] for match in pattern.of(*at).finditer(text)]
        return ready.brier(given, reference.value(*at))

    return score, [reference] if pattern is None else [reference, pattern]


def _absent(spec: graders.Absent) -> CompiledScore:
    terms = [Template("terms", term) for term in spec.terms]
    patterns = [Pattern("patterns", pattern) for pattern in spec.patterns]

    def score(text: str, at: At) -> float:
        named = [term for template in terms for term in ready.terms_of(template.value(*at))]
        forms = {text, ready.unescaped(text)}
        hits = (one.of(*at).search(form) for form in (*forms, *map(ready.seen, forms)) for one in patterns)
        return float(not any(ready.holds_any(form, named) for form in forms) and not any(hits))

    return score, [*terms, *patterns]


def _refusal(spec: graders.RefusalGrader) -> CompiledScore:
    reference = Template("reference", spec.reference)

    def score(text: str, at: At) -> float:
        expected = str(reference.value(*at)).strip().casefold()
        if expected not in ("true", "false"):
            raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, "the row's reference is neither true nor false")
        return float(ready.refuses(text, spec.phrases) == (expected == "true"))

    return score, [reference]


_BUILDERS: dict[type, Callable[[Any], CompiledScore]] = {
    graders.StringCheck: _string_check,
    graders.TextSimilarity: _text_similarity,
    graders.Regex: _regex,
    graders.Citation: _citation,
    graders.JsonSchema: _json_schema,
    graders.Label: _label,
    graders.ReadingLevel: _reading_level,
    graders.StepOrder: _step_order,
    graders.FactsGrader: _facts,
    graders.Grounded: _grounded,
    graders.Brier: _brier,
    graders.Absent: _absent,
    graders.RefusalGrader: _refusal,
}


def _python(spec: graders.PythonGrader) -> Compiled:
    try:
        tree = ast.parse(spec.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" on line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise BadGrader("source", f"not Python{where}") from error
    grades = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    arguments = [one.arg for grade in grades for one in (*grade.args.posonlyargs, *grade.args.args)]
    if len(grades) != 1 or len(arguments) != 2:
        raise BadGrader("source", "it must define `def grade(sample, item)` once")
    sandbox = Sandbox(spec.source)

    def score(sample: Sample, item: Item) -> float:
        try:
            answer = sample.output_json
        except AnswerUnreadable:
            answer = None
        value = sandbox.grade({"output_text": sample.output_text, "output_json": answer}, item)
        if not 0 <= value <= 1:
            raise GradingFailed(GradingErrorCode.PYTHON_RUNTIME, "grade returned a number beyond 0 to 1")
        return value

    needed, optional = _fields_named(tree, arguments[1])
    return Compiled(needed, score, optional, sandbox.close)


def _fields_named(tree: ast.Module, row: str) -> tuple[frozenset[str], frozenset[str] | None]:
    """Fields read as `item["field"]`, and as `item.get("field")`: None if `row` is used otherwise too."""
    needed: list[str] = []
    optional: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(ast.Name(id), ast.Constant(str(field)), ast.Load()) if id == row:
                needed.append(field)
            case ast.Call(ast.Attribute(ast.Name(id), "get"), [ast.Constant(str(field)), *_]) if id == row:
                optional.append(field)
    uses = sum(isinstance(node, ast.Name) and node.id == row for node in ast.walk(tree))
    return frozenset(needed), frozenset(optional) if uses == len(needed) + len(optional) else None
