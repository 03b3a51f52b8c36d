"""The one place where answers earn scores: evaluation, rewards and the dry run."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Self

from shared.domain.graders import Grader, Multi, PythonGrader, Regex, ScoreModel, StringCheck, TextSimilarity
from shared.domain.prompts import ROLES
from shared.domain.row_fields import is_missing
from shared.grading.compiled import Compiled, compile_grader
from shared.grading.errors import JUDGE_CODES, AnswerUnreadable, BadGrader, GradeError, GradingErrorCode, GradingFailed
from shared.grading.formula import Formula
from shared.grading.llm_judge import Ask, no_judge
from shared.grading.sandbox import IsolatedGraders
from shared.grading.templates import REFERENCE, Item, Sample
from shared.grading.templates import compiled as compiled_pattern


@dataclass(frozen=True)
class Grade:
    """What one answer earned. `score`: 0 to 1, the weighted mean, or 0 where a grader with a veto gives less than 1;
    None if one failed. `parts`: score by grader, inside a multi as `multi.part`. `errors`: what failed, and where the
    answer could not be read (`sample_parse_error`), a score of 0. `reasons`: a judge's words, by grader."""

    score: float | None
    parts: dict[str, float]
    errors: tuple[GradeError, ...]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def unscored(self) -> bool:
        """Whether a judge did not answer, or not as it should."""
        return any(error.code in JUDGE_CODES for error in self.errors)


@dataclass
class _Notes:
    """A grade in the making."""

    parts: dict[str, float] = field(default_factory=dict)
    errors: list[GradeError] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


class Engine:
    """Graders, ready; leaving the context ends their processes. `ask` reaches the judges. `isolated`: all others score
    in a process of their own too, for specs and rows of others. Raises BadGrader for a spec that can never work."""

    def __init__(self, graders: Sequence[Grader], ask: Ask = no_judge, *, isolated: bool = False) -> None:
        apart = IsolatedGraders() if isolated else None
        self._graders = [(grader, compile_grader(grader, ask, apart)) for grader in graders]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for _, compiled in self._graders:
            compiled.close()

    def grade(self, texts: Sequence[str], items: Sequence[Item]) -> list[Grade]:
        """One grade for each answer and its row's fields, in order. Never raises for what is in them."""
        answers = [(Sample(text), item) for text, item in zip(texts, items, strict=True)]
        for _, compiled in self._graders:
            for judge in compiled.judges:
                judge.consult(answers)
        return [self._one(sample, item) for sample, item in answers]

    def _one(self, sample: Sample, item: Item) -> Grade:
        notes = _Notes()
        total = weights = 0.0
        failed = vetoed = False
        for grader, compiled in self._graders:
            score = _score(grader.name, compiled, sample, item, notes)
            if score is None:
                failed = True
            else:
                total, weights = total + grader.weight * score, weights + grader.weight
                vetoed |= grader.veto and score < 1
        mean = None if failed else 0.0 if vetoed else total / weights
        return Grade(mean, notes.parts, tuple(notes.errors), notes.reasons)


def _score(name: str, compiled: Compiled, sample: Sample, item: Item, notes: _Notes) -> float | None:
    """The score, also noted in `parts`; None if the grader failed, noted in `errors`."""
    try:
        if not isinstance(compiled.score, Formula):
            notes.parts[name] = compiled.score(sample, item)
            for judge in compiled.judges:
                notes.reasons[name] = judge.reason(sample, item)
        else:
            inner = {key: _score(f"{name}.{key}", part, sample, item, notes) for key, part in compiled.parts.items()}
            scores = {key: score for key, score in inner.items() if score is not None}
            if len(scores) < len(inner):
                return None
            notes.parts[name] = compiled.score(scores)
    except GradingFailed as error:
        notes.errors.append(GradeError(name, error.code, error.message))
        if not isinstance(error, AnswerUnreadable):
            return None
        notes.parts[name] = 0.0
    except RecursionError:
        notes.errors.append(GradeError(name, GradingErrorCode.OTHER, "row or answer is nested too deeply"))
        return None
    return notes.parts[name]


def _working(graders: Sequence[Grader], isolated: IsolatedGraders | None = None) -> Iterator[Compiled]:
    for grader in graders:
        with suppress(BadGrader):
            yield compile_grader(grader, isolated=isolated)


def read_fields(graders: Sequence[Grader]) -> set[str] | None:
    """The row fields that graders may read, None if any: a Python grader that does not name what it reads."""
    found = fields(graders)
    for compiled in _working(graders):
        if compiled.optional is None:
            return None
        found |= compiled.optional
    return found


def fields(graders: Sequence[Grader]) -> set[str]:
    """The row fields that graders read, as far as can be known; not the prompt, which each row has."""
    of_prompt = {"messages", *(f"messages.{role}" for role in ROLES)}
    return set[str]().union(*(compiled.fields for compiled in _working(graders))) - of_prompt


_OF_ROWS = {"absent", "brier", "citation", "facts", "label", "refusal", "step_order"}  # the others take any value


def row_check(graders: Sequence[Grader]) -> Callable[[Item], Iterator[str]]:
    """Gives what graders cannot read in a row, whatever the answer. One that a row is too much for is asked no more."""
    parts = [part for one in graders for part in (one.graders.values() if isinstance(one, Multi) else [one])]
    isolated = IsolatedGraders()
    compiled = [*_working([part for part in parts if part.type in _OF_ROWS], isolated)]

    def faults(item: Item) -> Iterator[str]:
        answer = str(item.get("answer", ""))
        for one in [*compiled]:
            try:
                if not isinstance(one.score, Formula) and not any(is_missing(item, path) for path in one.fields):
                    one.score(Sample(answer if answer.startswith("{") else "{}"), item)
            except GradingFailed as error:
                if not isolated.running:
                    compiled.remove(one)
                if not isinstance(error, AnswerUnreadable):
                    yield f"{', '.join(f'item.{path}' for path in sorted(one.fields))}: {error.message}"

    return faults


def given_to_any_answer(graders: Sequence[Grader]) -> list[str]:
    """Names of those of which it can be shown that their score is above 0, or the same, whatever the answer is."""
    return [grader.name for grader in graders if _ignores_the_answer(grader)]


def _ignores_the_answer(spec: Grader) -> bool:
    match spec:
        case Multi():
            corners = product((0.0, 1.0), repeat=len(spec.graders))
            formula = Formula(spec.calculate_output, spec.graders)
            is_never_0 = all(formula(dict(zip(spec.graders, corner, strict=True))) > 0 for corner in corners)
            return is_never_0 or all(map(_ignores_the_answer, spec.graders.values()))
        case PythonGrader():
            functions = {one.name: one for one in ast.parse(spec.source).body if isinstance(one, ast.FunctionDef)}
            if (grade := functions.get("grade")) is None or not (
                arguments := [*grade.args.posonlyargs, *grade.args.args]
            ):
                return False
            return arguments[0].arg not in {node.id for node in ast.walk(grade) if isinstance(node, ast.Name)}
        case ScoreModel():
            return False  # a judge that is not shown the answer is refused always
        case StringCheck() | TextSimilarity() if spec.input.strip() == spec.reference.strip():
            return True
        case StringCheck(operation="like" | "ilike", reference=reference) if not reference.strip():
            return True
        case Regex() if not REFERENCE.search(spec.pattern) and not re.search(r"\\[bB]", spec.pattern):
            # What matches the empty text, and is not tied to both ends, matches it in every text.
            is_tied = re.search(r"\^|\\A", spec.pattern) and re.search(r"\$|\\z", spec.pattern)
            return (bool(compiled_pattern(spec.pattern).search("")) and not is_tied) or "sample." not in spec.input
    return re.search(r"\{\{\s*sample\.", spec.model_dump_json(exclude={"name", "type"})) is None


def problems(graders: Sequence[Grader], setting: str) -> list[tuple[str, str]]:
    """(dotted setting, what is wrong) for every grader that can never work; `setting` is where the list stands."""
    found = []
    for index, grader in enumerate(graders):
        try:
            compile_grader(grader)
        except BadGrader as error:
            found.append((f"{setting}[{index}].{error.setting}", error.message))
    return found
