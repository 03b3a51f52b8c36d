"""Answers become scores, gains and slices, with intervals by paired bootstrap. Free of torch."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.domain import evaluation
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import MAX_SLICES
from shared.domain.graders import Grader
from shared.domain.row_fields import as_equal_groups, group_of, is_missing, value_at
from shared.grading.engine import Engine, Grade, fields
from shared.grading.errors import JUDGE_CODES, GradingErrorCode
from shared.grading.llm_judge import Ask, no_judge

MAX_SAMPLES = 10
ROWS_NAMED = 5
UNSCORED_MAX = 0.02  # of the held-out rows
Scores = NDArray[np.float64]
Items = Sequence[dict[str, Any]]  # the fields of rows


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


Models = dict[str, GradedAnswers]  # by the names that models have in the report


def require_fields(graders: Sequence[Grader], items: Items) -> None:
    """Raises PermanentFailure of class recipe when a grader names a field that a row does not have, or has empty."""
    needed = fields(graders)
    for number, item in enumerate(items, start=1):
        missing = {path for path in needed if is_missing(item, path)}
        if missing:
            message = f"a grader names item.{min(missing)}, which held-out row {number} does not have"
            raise PermanentFailure(FailureClass.RECIPE, "grader_field_missing", message, "evaluation.graders")


def grade_answers(graders: Sequence[Grader], texts: list[str], items: Items, ask: Ask = no_judge) -> GradedAnswers:
    """Score every answer; `ask` reaches the judges."""
    with Engine(graders, ask, isolated=True) as engine:
        return graded(texts, engine.grade(texts, items))


def graded(texts: list[str], grades: list[Grade]) -> GradedAnswers:
    return GradedAnswers(texts, np.array([grade.score or 0.0 for grade in grades], dtype=np.float64), grades)


def unscored_rows(models: Models) -> frozenset[int]:
    """Indices of rows that a judge left without a score for any model. Raises PermanentFailure if they are more than
    `UNSCORED_MAX` of all: `judge_unreachable` of class platform if most failures are silence, else `judge_unreadable`
    of class recipe."""
    rows = len(next(iter(models.values())).grades)
    found = frozenset(i for answers in models.values() for i, grade in enumerate(answers.grades) if grade.unscored)
    if len(found) > UNSCORED_MAX * rows:
        raise _judge_failed(found, rows, models)
    return found


def _judge_failed(found: frozenset[int], rows: int, models: Models) -> PermanentFailure:
    every = (error for answers in models.values() for grade in answers.grades for error in grade.errors)
    errors = [error for error in every if error.code in JUDGE_CODES]
    code, _ = Counter(error.code for error in errors).most_common(1)[0]
    first = next(error for error in errors if error.code is code)
    message = (
        f"{len(found)} of {rows} held-out rows have no score from the judge, at most {UNSCORED_MAX:.0%} may; "
        f"row {min(found) + 1} is the first; for example {first.grader}: {first.message}"
    )
    if code is GradingErrorCode.JUDGE_SERVER:
        return PermanentFailure(FailureClass.PLATFORM, "judge_unreachable", message, first.grader)
    return PermanentFailure(FailureClass.RECIPE, "judge_unreadable", message, first.grader)


def grading_errors(models: Models) -> tuple[evaluation.GradingError, ...]:
    """What graders could not grade, by model, grader and code: not an answer that is no JSON, nor a judge's row."""
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


@lru_cache(maxsize=MAX_SLICES)
def student(tail: float, freedom: float) -> float:
    """The upper tail of Student's t from 1 degree on: tan(angle) = t / sqrt(freedom)."""
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    areas = np.cumsum((density[1:] + density[:-1])[::-1])  # from the right, where they are small
    return float(np.sqrt(freedom) * np.tan(np.interp(2 * tail, areas / areas[-1], angles[-2::-1])))


# Rows, or groups, that show a loss where all fell. One falls by chance in at most a quarter of cases, for half of the
# time is the most evenly that a model can be right: so of 100 slices of six rows one falls whole in 2.4 %.
FALLEN = 6


class Rows:
    """Intervals of means over rows, of which those of a group, or with one of `prompts`, are no independent
    observations; a gain's are of the row by row difference. Student's t with the variance of group sums and the degrees
    of freedom of Bell and McCaffrey (2002, Survey Methodology 28). No gain is above 0 unless so many groups differ that
    equal signs are seldom chance (exact test by signs): where two hold most rows, t with one degree of freedom is far
    too sure."""

    def __init__(self, items: Items, group: str | None = None, prompts: Sequence[bytes] = ()) -> None:
        alone = prompts or range(len(items))
        keys = [(group_of(item, group) if group else None) or one for item, one in zip(items, alone, strict=True)]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        self._group = np.array([places[key] for key in keys])
        sizes = np.bincount(self._group)
        self.groups, self._several, self._rows = as_equal_groups(sizes.tolist()), len(places) > 1, len(keys)
        shares = sizes / self._rows
        if self._several:
            self._weights = 1 / (1 - shares) / self._rows**2
            products = shares**2 / (1 - shares)
            self._freedom = 1 / float((shares**2).sum() + products.sum() ** 2 - (products**2).sum())

    def error(self, values: Scores) -> float:
        """Standard error of the mean; of a single group it is not known."""
        sums = np.bincount(self._group, values - values.mean())
        return float(np.sqrt((self._weights * sums**2).sum())) if self._several else float("inf")

    def quantile(self, tail: float) -> float:
        return student(tail, round(self._freedom, 6)) if self._several else float("inf")

    def score(self, values: Scores, confidence: float) -> evaluation.Score:
        mean, margin = float(values.mean()), self._margin(values, confidence)
        low, high = max(0.0, mean - margin), min(1.0, mean + margin)
        return evaluation.Score(mean=mean, low=low, high=high, rows=len(values))

    def gain(self, over: evaluation.Over, candidate: Scores, baseline: Scores, confidence: float) -> evaluation.Gain:
        change = candidate - baseline
        mean, margin = float(change.mean()), self._margin(change, confidence)
        sums = np.abs(np.bincount(self._group, change))
        differ = sums.sum() ** 2 / (sums**2).sum() if sums.max() > evaluation.ROUNDING else 0
        few, too_few = (0.5**groups > (1 - confidence) / 2 for groups in (differ, self.groups))
        low = min(mean - margin, 0.0) if few else mean - margin
        high = max(mean + margin, 0.0) if differ < FALLEN else mean + margin
        shown = self._shown(baseline, change, confidence) if margin and not too_few else 1.0
        detectable = shown if shown < 1 else None
        return evaluation.Gain(over=over, mean=mean, low=max(-1.0, low), high=min(1.0, high), detectable=detectable)

    def _shown(self, baseline: Scores, change: Scores, confidence: float) -> float:
        """The gain that is above 0 in so many cases as `evaluation.POWER` says: the largest of three. By the spread of
        these rows. By the spread that such a gain would bring to rows of which a share falls by `most` and the more
        rise, for of a weak base hardly a row changes yet. And by the rule of signs."""
        most, tail = float(np.abs(change).max()), (1 - confidence) / 2
        z, error = self.quantile(1 - evaluation.POWER), self.error(change)
        quantiles, falls = self.quantile(tail) + z, float((change < -evaluation.ROUNDING).mean())
        # Rise and fall of both models right independently: g² = a (g (1 - 2 base) + 2 falls - g²).
        a, b = quantiles**2 * error**2 / change.var(), max(0.0, 1 - 2 * float(baseline.mean()) / most)
        by_own = (a * b + np.sqrt((a * b) ** 2 + 8 * (1 + a) * a * falls)) / (2 * (1 + a))
        by_signs = ((z + np.sqrt(z**2 - 4 * np.log2(tail))) / 2) ** 2 / self.groups - 2 * falls
        return max(quantiles * error, most * float(by_own), most * float(by_signs))

    def _margin(self, values: Scores, confidence: float) -> float:
        error = self.error(values)
        return error * self.quantile((1 - confidence) / 2) if error > evaluation.ROUNDING else 0.0


def grader_scores(models: Models, rows: Rows, confidence: float) -> tuple[evaluation.GraderScore, ...]:
    """Every grader's own scores, and those inside multi graders, in the order in which they first appear."""
    names = dict.fromkeys(name for answers in models.values() for grade in answers.grades for name in grade.parts)
    return tuple(
        evaluation.GraderScore(
            name=name, **{model: rows.score(answers.part(name), confidence) for model, answers in models.items()}
        )
        for name in names
    )


def floor_scores(
    graders: Iterable[str], names: tuple[str, ...], items: Items, candidate: GradedAnswers, rows: list[int]
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


def _cuts(names: tuple[str, ...], items: Items) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Field, value and which rows are inside `[rows]`, of each slice."""
    cuts = []
    for name in dict.fromkeys(names):
        values = slice_values(name, items)
        found = sorted({value for value in values if value is not None})
        cuts += [(name, value, np.array([one == value for one in values])) for value in found]
    return cuts


def slice_scores(
    names: tuple[str, ...],
    items: Items,
    models: Models,
    confidence: float,
    group: str | None = None,
    prompts: Sequence[bytes] = (),
) -> tuple[evaluation.SliceScore, ...]:
    """Mean scores by value of each field; rows without the field are in no slice of it."""
    cuts = _cuts(names, items)
    shared = 1 - (1 - confidence) / max(1, len(cuts))
    over: evaluation.Over = "champion" if "champion" in models else "base"  # what it would replace
    slices = []
    for name, value, inside in cuts:
        scores = {model: answers.scores[inside] for model, answers in models.items()}
        rows = Rows(list(compress(items, inside)), group, list(compress(prompts, inside)))
        gain = rows.gain(over, scores["candidate"], scores[over], shared)
        means = {model: float(part.mean()) for model, part in scores.items()}
        slices.append(evaluation.SliceScore(field=name, value=value, rows=int(inside.sum()), gain=gain, **means))
    return tuple(slices)


def slice_values(name: str, items: Items) -> list[str | None]:
    """The slice each row is in, by one field."""
    found = (value_at(item, name) for item in items)
    return [None if value is None else str(value) for value in found]


def pick_samples(
    questions: Sequence[Question], models: Models, leave_out: frozenset[int] = frozenset()
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
