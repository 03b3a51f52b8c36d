"""Answers become scores, gains and slices, with intervals by paired bootstrap. Free of torch."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.domain import evaluation
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.graders import Grader
from shared.domain.row_fields import is_missing, value_at
from shared.grading.engine import Engine, Grade, fields
from shared.grading.errors import JUDGE_CODES, GradingErrorCode
from shared.grading.llm_judge import Ask, no_judge

DRAWS = 10_000
MAX_SAMPLES = 10
ROWS_NAMED = 5
UNSCORED_MAX = 0.02  # of the held-out rows
_BLOCK = 500
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A held-out row without its answer: conversation, prompt token ids `[length]`, expected answer if any."""

    number: int
    prompt: str
    ids: list[int]
    reference: str | None


@dataclass(frozen=True)
class Answers:
    """One model's answers, in the order of the questions, which were cut `at_limit`; `seconds` for all, in batches."""

    texts: list[str]
    tokens: list[int]
    at_limit: list[bool]
    seconds: float


@dataclass(frozen=True)
class GradedAnswers:
    """One model's answers and scores `[rows]`, in the order of the rows; an answer no grader could grade scores 0."""

    texts: list[str]
    scores: Scores
    grades: list[Grade]

    def only(self, rows: Sequence[int]) -> "GradedAnswers":
        """The same of some rows, by index."""
        return GradedAnswers([self.texts[i] for i in rows], self.scores[list(rows)], [self.grades[i] for i in rows])

    def part(self, grader: str) -> Scores:
        """One grader's scores `[rows]`."""
        return np.array([grade.parts.get(grader, 0.0) for grade in self.grades])


def require_fields(graders: Sequence[Grader], items: list[dict[str, Any]]) -> None:
    """Raises PermanentFailure of class recipe when a grader names a field that a row does not have, or has empty."""
    needed = fields(graders)
    for number, item in enumerate(items, start=1):
        missing = {path for path in needed if is_missing(item, path)}
        if missing:
            message = f"a grader names item.{min(missing)}, which held-out row {number} does not have"
            raise PermanentFailure(FailureClass.RECIPE, "grader_field_missing", message, "evaluation.graders")


def grade_answers(
    graders: Sequence[Grader], texts: list[str], items: list[dict[str, Any]], ask: Ask = no_judge
) -> GradedAnswers:
    """Score every answer; `ask` reaches the judges."""
    with Engine(graders, ask, isolated=True) as engine:
        return graded(texts, engine.grade(texts, items))


def graded(texts: list[str], grades: list[Grade]) -> GradedAnswers:
    return GradedAnswers(texts, np.array([grade.score or 0.0 for grade in grades], dtype=np.float64), grades)


def unscored_rows(models: dict[str, GradedAnswers]) -> frozenset[int]:
    """Indices of rows that a judge left without a score for any model; they count for none, or the pairs would differ.

    Raises PermanentFailure if they are more than `UNSCORED_MAX` of all: `judge_unreachable` of class platform where
    most of the judge's failures are silence, else `judge_unreadable` of class recipe.
    """
    rows = len(next(iter(models.values())).grades)
    found = frozenset(i for answers in models.values() for i, grade in enumerate(answers.grades) if grade.unscored)
    if len(found) > UNSCORED_MAX * rows:
        raise _judge_failed(found, rows, models)
    return found


def _judge_failed(found: frozenset[int], rows: int, models: dict[str, GradedAnswers]) -> PermanentFailure:
    errors = [
        error
        for answers in models.values()
        for grade in answers.grades
        for error in grade.errors
        if error.code in JUDGE_CODES
    ]
    code, _ = Counter(error.code for error in errors).most_common(1)[0]
    first = next(error for error in errors if error.code is code)
    message = (
        f"{len(found)} of {rows} held-out rows have no score from the judge, at most {UNSCORED_MAX:.0%} may; "
        f"row {min(found) + 1} is the first; for example {first.grader}: {first.message}"
    )
    if code is GradingErrorCode.JUDGE_SERVER:
        return PermanentFailure(FailureClass.PLATFORM, "judge_unreachable", message, first.grader)
    return PermanentFailure(FailureClass.RECIPE, "judge_unreadable", message, first.grader)


def grading_errors(models: dict[str, GradedAnswers]) -> tuple[evaluation.GradingError, ...]:
    """What graders could not grade, by model, grader and code. An answer that is not JSON is no grader's failure, and a
    row without a judge's score is left out."""
    found: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for model, answers in models.items():
        for number, grade in enumerate(answers.grades, start=1):
            for error in grade.errors:
                if error.code is not GradingErrorCode.SAMPLE_PARSE and error.code not in JUDGE_CODES:
                    found.setdefault((model, error.grader, error.code.value), []).append((number, error.message))
    return tuple(
        evaluation.GradingError(
            model=model,
            grader=grader,
            code=code,
            message=rows[0][1],
            count=len(rows),
            rows=tuple(number for number, _ in rows[:ROWS_NAMED]),
        )
        for (model, grader, code), rows in found.items()
    )


@lru_cache(maxsize=2)  # all rows, and slices of like size
def _counts(rows: int, seed: int) -> NDArray[np.uint8]:
    """How often each row is drawn, `[draws, rows]`: a draw's mean is then one product."""
    generator = np.random.default_rng(seed)
    blocks = range(DRAWS // _BLOCK)
    even = np.full(rows, 1 / rows)
    counts = np.concatenate([generator.multinomial(rows, even, size=_BLOCK).astype(np.uint8) for _ in blocks])
    counts.flags.writeable = False
    return counts


class Bootstrap:
    """Percentile intervals of means over rows; a gain's are of the row by row difference, which is what pairs them.

    Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """

    def __init__(self, rows: int, confidence: float, seed: int) -> None:
        self._counts = _counts(rows, seed)
        self._rows = rows
        self._tails = [50 * (1 - confidence), 50 * (1 + confidence)]

    def interval(self, values: Scores) -> tuple[float, float]:
        """Lower and upper bound of the mean."""
        blocks = range(0, DRAWS, _BLOCK)
        means = np.concatenate([self._counts[start : start + _BLOCK] @ values for start in blocks]) / self._rows
        low, high = np.percentile(means, self._tails)
        return float(low), float(high)

    def score(self, values: Scores) -> evaluation.Score:
        low, high = self.interval(values)
        return evaluation.Score(mean=float(values.mean()), low=low, high=high, rows=len(values))

    def gain(
        self, over: Literal["base", "champion"] | evaluation.BaselineName, candidate: Scores, baseline: Scores
    ) -> evaluation.Gain:
        low, high = self.interval(candidate - baseline)
        return evaluation.Gain(over=over, mean=float((candidate - baseline).mean()), low=low, high=high)


def grader_scores(models: dict[str, GradedAnswers], bootstrap: Bootstrap) -> tuple[evaluation.GraderScore, ...]:
    """Every grader's own scores, and those inside multi graders, in the order in which they first appear."""
    names = dict.fromkeys(name for answers in models.values() for grade in answers.grades for name in grade.parts)
    return tuple(
        evaluation.GraderScore(
            name=name, **{model: bootstrap.score(answers.part(name)) for model, answers in models.items()}
        )
        for name in names
    )


def floor_scores(
    graders: Iterable[str],
    names: tuple[str, ...],
    items: list[dict[str, Any]],
    candidate: GradedAnswers,
    rows: list[int],
) -> tuple[evaluation.FloorScore, ...]:
    """The candidate's means of some graders, over all rows and by slice; `rows` are the rows' numbers, from 1."""
    numbers = np.array(rows)
    parts: list[tuple[dict[str, str], NDArray[np.bool_]]] = [({}, np.ones(len(rows), dtype=bool))]
    parts += [({"field": name, "value": value}, inside) for name, value, inside in _cuts(names, items)]
    found = []
    for grader in graders:
        scores = candidate.part(grader)
        for where, inside in parts:
            failed = numbers[inside & (scores < 1)].tolist()
            counts = {"rows": int(inside.sum()), "failed": len(failed), "failed_rows": tuple(failed[:ROWS_NAMED])}
            found.append(evaluation.FloorScore(grader=grader, **where, mean=float(scores[inside].mean()), **counts))
    return tuple(found)


def _cuts(names: tuple[str, ...], items: list[dict[str, Any]]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Field, value and which rows are inside `[rows]`, of each slice."""
    cuts = []
    for name in dict.fromkeys(names):
        values = slice_values(name, items)
        found = sorted({value for value in values if value is not None})
        cuts += [(name, value, np.array([one == value for one in values])) for value in found]
    return cuts


def slice_scores(
    names: tuple[str, ...], items: list[dict[str, Any]], models: dict[str, GradedAnswers], confidence: float, seed: int
) -> tuple[evaluation.SliceScore, ...]:
    """Mean scores by value of each field; rows without the field are in no slice of it."""
    cuts = _cuts(names, items)
    shared = 1 - (1 - confidence) / max(1, len(cuts))
    over: Literal["base", "champion"] = "champion" if "champion" in models else "base"  # what it would replace
    slices = []
    for name, value, inside in cuts:
        scores = {model: answers.scores[inside] for model, answers in models.items()}
        gain = Bootstrap(int(inside.sum()), shared, seed).gain(over, scores["candidate"], scores[over])
        means = {model: float(part.mean()) for model, part in scores.items()}
        slices.append(evaluation.SliceScore(field=name, value=value, rows=int(inside.sum()), gain=gain, **means))
    return tuple(slices)


def slice_values(name: str, items: list[dict[str, Any]]) -> list[str | None]:
    """The slice each row is in, by one field."""
    found = (value_at(item, name) for item in items)
    return [None if value is None else str(value) for value in found]


def pick_samples(
    questions: Sequence[Question], models: dict[str, GradedAnswers], leave_out: frozenset[int] = frozenset()
) -> list[evaluation.SampleAnswer]:
    """Up to ten rows: what got worse first, then what was fixed, then the rest."""
    change = models["candidate"].scores - models["base"].scores
    rows = [i for i in range(len(questions)) if i not in leave_out]
    worse = [i for i in rows if change[i] < 0]
    fixed = [i for i in rows if change[i] > 0]
    same = [i for i in rows if change[i] == 0]
    half = MAX_SAMPLES // 2
    chosen = (worse[:half] + fixed[:half] + same + worse[half:] + fixed[half:])[:MAX_SAMPLES]
    return [
        evaluation.SampleAnswer(
            row=questions[i].number,
            prompt=questions[i].prompt,
            reference=questions[i].reference or "",
            **{name: answers.texts[i] for name, answers in models.items()},
        )
        for i in chosen
    ]
