"""What an evaluation measured, and the gate that turns it into a verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.recipe import Gate


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(Frozen):
    """Mean score of one model over `rows` held-out rows, with its bootstrap interval."""

    mean: float
    low: float
    high: float
    rows: int


class Gain(Frozen):
    """Paired difference candidate minus `over`, with its bootstrap interval at the gate's confidence."""

    over: Literal["base", "champion"]
    mean: float
    low: float
    high: float


class SliceScore(Frozen):
    """Mean scores over the rows whose `field` equals `value`."""

    field: str
    value: str
    rows: int
    base: float
    candidate: float
    champion: float | None = None


class SampleAnswer(Frozen):
    """One held-out row by number, with each model's answer."""

    row: int
    prompt: str
    reference: str
    base: str
    candidate: str
    champion: str | None = None


class JudgedRow(Frozen):
    """A line of `evaluation/rows.jsonl`: row number from 1; score and answer by model (base, candidate...).

    `prompt_tokens` is the length of the rendered prompt: a server with another template counts another one.
    """

    row: int
    prompt_tokens: int | None = None
    scores: dict[str, float]
    answers: dict[str, str]


class EvaluationResult(Frozen):
    """`evaluation/report.json`: written by the evaluate job, read by judge_evaluation.

    `answers_differ` is the share of rows on which base and candidate answer differently: 0 means the
    adapter does not act. `template_sha256` is the chat template's, compared with the served one.
    """

    base: Score
    candidate: Score
    champion: Score | None = None
    gains: tuple[Gain, ...]
    slices: tuple[SliceScore, ...] = ()
    answers_differ: float
    template_sha256: str
    tokens_per_answer: dict[str, float] = Field(default_factory=dict)
    seconds_per_answer: dict[str, float] = Field(default_factory=dict)


class Check(Frozen):
    """One line of the verdict."""

    name: str
    passed: bool
    detail: str


class Verdict(Frozen):
    """Whether the candidate may replace what runs today, and every reason."""

    passed: bool
    checks: tuple[Check, ...]


def judge(result: EvaluationResult, gate: Gate) -> Verdict:
    """Apply the gate: floor, enough rows, a gain beyond its interval over base and champion, no slice worse."""
    checks = [
        Check(
            name="enough_rows",
            passed=result.candidate.rows >= gate.min_rows,
            detail=f"{result.candidate.rows} held-out rows, at least {gate.min_rows} needed",
        ),
        Check(
            name="floor",
            passed=result.candidate.mean >= gate.min_score,
            detail=f"candidate scores {result.candidate.mean:.3f}, floor {gate.min_score:.3f}",
        ),
        Check(
            name="adapter_acts",
            passed=result.answers_differ > 0,
            detail=f"{result.answers_differ:.0%} of the answers differ from the base model's",
        ),
    ]
    for gain in result.gains:
        checks.append(
            Check(
                name=f"gain_over_{gain.over}",
                passed=gain.low > gate.min_gain,
                detail=f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over {gain.over}, "
                f"must lie above {gate.min_gain:.3f}",
            )
        )
    for part in result.slices:
        rival = part.base if part.champion is None else part.champion
        checks.append(
            Check(
                name=f"slice:{part.field}={part.value}",
                passed=part.candidate >= rival - gate.max_regression,
                detail=f"{rival:.3f} -> {part.candidate:.3f} over {part.rows} rows",
            )
        )
    return Verdict(passed=all(check.passed for check in checks), checks=tuple(checks))
