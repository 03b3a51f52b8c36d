"""The one place where answers earn scores: evaluation, rewards and the dry run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from shared.domain.graders import Grader
from shared.grading.compiled import Compiled, CompiledMulti, compile_grader
from shared.grading.errors import AnswerUnreadable, BadGrader, Code, GradeError, GradingFailed
from shared.grading.templates import Item, Sample


@dataclass(frozen=True)
class Grade:
    """What one answer earned.

    `score`: 0 to 1, the weighted mean of the graders; None if a grader failed, which is no 0. `parts`: score by grader,
    those inside a multi as `multi.part`; one that failed has none. `errors`: what failed, and where the answer itself
    could not be read (`sample_parse_error`), which is a score of 0.
    """

    score: float | None
    parts: dict[str, float]
    errors: tuple[GradeError, ...]


class Engine:
    """Graders, ready. A context manager: leaving it ends the processes of python graders.

    Raises BadGrader for a spec that can never work; `problems` says the same without raising.
    """

    def __init__(self, graders: Sequence[Grader]) -> None:
        self._graders = [(grader, compile_grader(grader)) for grader in graders]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, compiled in self._graders:
            compiled.close()

    def grade(self, texts: Sequence[str], items: Sequence[Item]) -> list[Grade]:
        """One grade for each answer and its row's fields, in order. Never raises for what is in them."""
        return [self._one(text, item) for text, item in zip(texts, items, strict=True)]

    def _one(self, text: str, item: Item) -> Grade:
        sample, parts, errors = Sample(text), dict[str, float](), list[GradeError]()
        total = weights = 0.0
        failed = False
        for grader, compiled in self._graders:
            score = _score(grader.name, compiled, sample, item, parts, errors)
            if score is None:
                failed = True
            else:
                total, weights = total + grader.weight * score, weights + grader.weight
        return Grade(None if failed else total / weights, parts, tuple(errors))


def _score(
    name: str,
    compiled: Compiled | CompiledMulti,
    sample: Sample,
    item: Item,
    parts: dict[str, float],
    errors: list[GradeError],
) -> float | None:
    """The score, also noted in `parts`; None if the grader failed, noted in `errors`."""
    try:
        if isinstance(compiled, Compiled):
            parts[name] = compiled.score(sample, item)
        else:
            inner = {
                key: _score(f"{name}.{key}", part, sample, item, parts, errors) for key, part in compiled.parts.items()
            }
            scores = {key: score for key, score in inner.items() if score is not None}
            if len(scores) < len(inner):
                return None
            parts[name] = compiled.formula(scores)
    except AnswerUnreadable as error:
        errors.append(GradeError(name, error.code, error.message))
        parts[name] = 0.0
    except GradingFailed as error:
        errors.append(GradeError(name, error.code, error.message))
        return None
    except RecursionError:
        errors.append(GradeError(name, Code.OTHER, "row or answer is nested too deeply"))
        return None
    return parts[name]


def fields(graders: Sequence[Grader]) -> set[str]:
    """The row fields that graders read, as far as can be known; nothing of graders that have problems."""
    found: set[str] = set()
    for grader in graders:
        try:
            found |= compile_grader(grader).fields
        except BadGrader:
            continue
    return found


def problems(graders: Sequence[Grader], setting: str) -> list[tuple[str, str]]:
    """(dotted setting, what is wrong) for every grader that can never work; `setting` is where the list stands."""
    found = []
    for index, grader in enumerate(graders):
        try:
            compile_grader(grader)
        except BadGrader as error:
            found.append((f"{setting}[{index}].{error.setting}", error.message))
    return found
