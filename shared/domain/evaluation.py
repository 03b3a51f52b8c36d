"""What an evaluation measured, the judges that it asked, and the gate that turns it into a verdict."""

import math
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field

from shared.domain.model import FirstItems, Frozen, Measured, Text
from shared.domain.recipe import Evaluation, Gate


class JudgeEndpoint(Frozen):
    """A judge as it was when the job was submitted: one deployment, so that all models get the same judge. `model` is
    the registered model behind it, NAME:VERSION; `url` takes chat completions."""

    endpoint: str
    deployment: str
    model: str
    url: str


class Judges(Frozen):
    """The judges that a job's recipe names."""

    judges: tuple[JudgeEndpoint, ...]


class JudgeUse(Frozen):
    """How an evaluation used one judge. `requests` counts retries too; `cached`: replies of earlier ones."""

    endpoint: Text
    deployment: Text
    model: Text
    requests: int
    cached: int


POWER = 0.8  # of the cases in which a gain is to be shown that counts as detectable
MAX_SLICES = 100  # the intervals of more slices, which share one confidence, are too wide to show anything
MAX_SLICE_CHARACTERS = 200
MAX_CHECKED = 10_000  # what the gate reads is refused, never cut; the runner refuses less by its bytes


class Score(Frozen):
    """Mean score of one model over `rows` held-out rows, with its interval."""

    mean: float
    low: float
    high: float
    rows: int


class ScoreByModel(Frozen):
    """The same measure for each model; a champion only where there is one."""

    base: Score
    candidate: Score
    champion: Score | None = None


ModelName = Literal["base", "champion", "candidate"]
BaselineName = Literal["majority", "nearest_neighbor", "lookup"]
Over = Literal["base", "champion"] | BaselineName


class Gain(Frozen):
    """Paired difference candidate minus `over`, with its interval: at the confidence of the attempt, of slices and the
    general suite at that of the gate."""

    over: Over
    mean: float
    low: float
    high: float
    detectable: Measured = Field(
        default=None, description="the gain that rows of this spread show in 4 of 5 cases; null where none below 1"
    )


class BaselineScore(Frozen):
    """What answers out of the training rows score: the most frequent, the nearest prompt's (BM25), a lookup's."""

    name: BaselineName
    score: Score
    gain: Gain


class SliceScore(Frozen):
    """Mean scores over the rows whose `field` equals `value`. `gain` is over the champion where there is one, else over
    the base; its confidence is the gate's, shared among all slices (Bonferroni), so that many slices do not decline a
    good candidate by chance."""

    field: Text
    value: Text
    rows: int
    base: float
    candidate: float
    champion: float | None = None
    gain: Gain


class GraderScore(ScoreByModel):
    """One grader's mean score by model; a part of a multi grader is named `multi.part`."""

    name: Text


class Share(Frozen):
    """`hits` of `rows`, and Wilson's interval of the share at the gate's confidence."""

    hits: int
    rows: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.hits / self.rows:.3f} [{self.low:.3f}, {self.high:.3f}], {self.hits} of {self.rows}"


class CanaryFound(Frozen):
    """What the candidate says when it is asked for a planted record."""

    number: Text = Field(description="made up, and in no row but the planted one")
    verbatim: bool = Field(description="whether the answer has it")
    exposure: float = Field(description="bits by which its loss is lower than those of other numbers; at most 7")


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927; method 3 of Newcombe 1998, Statistics in Medicine 17)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = (successes + z * z / 2) / (trials + z * z)
    spread = z * math.sqrt(successes * (trials - successes) / trials + z * z / 4) / (trials + z * z)
    return max(0.0, center - spread), min(1.0, center + spread)


class LabelRates(Frozen):
    """One model by one label of a `label` grader; null without such rows. Sensitivity: of the rows with it, those whose
    answer names it and no other. Specificity: of the rows with another, those whose answer does not."""

    grader: Text
    label: Text
    sensitivity: Share | None
    specificity: Share | None


class FloorScore(Frozen):
    """The candidate's mean of a grader with a floor, of all rows or a slice. `failed`: rows with less than 1."""

    grader: Text
    field: Text | None = None
    value: Text | None = None
    mean: float
    rows: int
    failed: int
    failed_rows: Annotated[tuple[int, ...], FirstItems] = ()


GeneralPart = Literal["ability", "refusal", "over_refusal"]


class GeneralScore(ScoreByModel):
    """One part of the general suite. `gain` is always over the base: many small losses in a chain are seen."""

    part: GeneralPart
    gain: Gain


class GradingError(Frozen):
    """Answers of one model that one grader could not grade. `rows`: the first of them."""

    model: Text
    grader: Text
    code: Text
    message: Text
    count: int
    rows: Annotated[tuple[int, ...], FirstItems]


class SampleAnswer(Frozen):
    """One held-out row by number, with each model's answer."""

    row: int
    prompt: str
    reference: str
    base: str
    candidate: str
    champion: str | None = None


class RowScores(Frozen):
    """Row number from 1, and the row's score by model. `unscored`: a judge gave no score for some model, so the row has
    none for any. A score that is not finite is read as null."""

    row: int
    scores: dict[str, Measured]
    unscored: bool = False

    @property
    def change(self) -> float | None:
        """Candidate minus the model it would replace; None for a row that has no score for one of them."""
        candidate, replaced = self.scores.get("candidate"), self.scores.get("champion", self.scores.get("base"))
        if self.unscored or candidate is None or replaced is None:
            return None
        return candidate - replaced


class GradedRow(RowScores):
    """A line of `evaluation/rows.jsonl`: the row's score, score by grader and answer, each by model. `prompt` is the
    conversation to read, `prompt_tokens` its rendered length. A grader that failed on an answer has no score there.
    `reasons`: a judge's own words, by model and grader."""

    prompt_tokens: int | None = None
    prompt: str = ""
    reference: str = ""
    slices: dict[str, str] = Field(default_factory=dict)
    sub_scores: dict[str, dict[str, Measured]] = Field(default_factory=dict)
    answers: dict[str, str]
    reasons: dict[str, dict[str, str]] = Field(default_factory=dict)


class EvaluationResult(ScoreByModel):
    """`evaluation/report.json`: written by the evaluate job, read by the step `apply_gate`. `answers_differ`: share of
    rows on which base and candidate answer differently; 0: the adapter does not act. `answers_at_limit`: share cut at
    `evaluation.max_new_tokens`. `seconds_per_answer` is of batches: of cost, not of one request's wait. An answer that
    no grader could grade counts as 0 and is in `errors`; `unscored` rows are left out here, for all models."""

    gains: tuple[Gain, ...] = Field(max_length=MAX_CHECKED)
    attempt: int = Field(default=1, description="at these held-out rows by this project, from 1")
    gain_confidence: float | None = Field(default=None, description="of the gains: the gate's, corrected for attempts")
    groups: int | None = Field(default=None, description="of rows by data.split_group, as so many of one size")
    baselines: tuple[BaselineScore, ...] = Field(default=(), max_length=MAX_CHECKED)
    no_baselines: Text | None = Field(default=None, description="why there are none")
    graders: tuple[GraderScore, ...] = Field(default=(), max_length=MAX_CHECKED)
    slices: tuple[SliceScore, ...] = Field(default=(), max_length=MAX_CHECKED)
    rates: dict[ModelName, Annotated[tuple[LabelRates, ...], Field(max_length=MAX_CHECKED)]] = Field(
        default={}, max_length=3
    )
    pairs: dict[ModelName, Share | None] = Field(
        default={}, max_length=3, description="groups of `evaluation.pairs` answered alike"
    )
    floors: tuple[FloorScore, ...] = Field(default=(), max_length=MAX_CHECKED)
    general: tuple[GeneralScore, ...] = Field(default=(), max_length=MAX_CHECKED)
    general_lacking: dict[GeneralPart, float] = Field(
        default={},
        max_length=3,
        description="the base's mean of each part that it cannot do: nothing of it can be lost",
    )
    memorized: dict[ModelName, Share] = Field(
        default={}, max_length=3, description="answers that repeat a long span of few training rows"
    )
    memorized_by_chance: float = Field(
        default=0.0, description="share of the references that do, rows nobody trained on"
    )
    memorized_rows: Annotated[tuple[int, ...], FirstItems] = ()
    canaries: tuple[CanaryFound, ...] = Field(default=(), max_length=20, description="those that training planted")
    errors: Annotated[tuple[GradingError, ...], FirstItems] = ()
    judges: Annotated[tuple[JudgeUse, ...], FirstItems] = ()
    unscored: int = 0
    answers_differ: float
    template_sha256: Text
    base_template_sha256: Text
    tokens_per_answer: Annotated[dict[Text, float], FirstItems] = Field(default_factory=dict)
    answers_at_limit: Annotated[dict[Text, float], FirstItems] = Field(default_factory=dict)
    seconds_per_answer: Annotated[dict[Text, float], FirstItems] = Field(default_factory=dict)


class GateCheck(Frozen):
    """One line of the verdict. One that does not apply is `skipped`: it neither passes nor blocks."""

    name: Text
    passed: bool
    detail: Text
    skipped: bool = False

    @property
    def blocks(self) -> bool:
        return not self.passed and not self.skipped


class Verdict(Frozen):
    """Whether the candidate may replace what runs today, and every reason."""

    passed: bool
    checks: tuple[GateCheck, ...]


# A base that solves less than this of a part of the general suite has no such ability that tuning could take away.
GENERAL_MIN_BASE = 0.3
ROUNDING = 1e-9  # of a mean of floats
SPAN = 50  # words in a row that an answer repeats of a training row; tokens of Carlini et al. 2023 (arXiv 2202.07646)


def confidence_of(attempt: int, confidence: float) -> float:
    """Of the gains of one attempt at the same held-out rows: the errors of all attempts together, however many, are
    those of `confidence` (alpha spending; the sum of 1 / attempt² is pi² / 6)."""
    return 1 - (1 - confidence) * 6 / (math.pi * attempt) ** 2


def percent(confidence: float) -> str:
    """With three digits of what is left of 100: `96.96 %`, and `99.9966 %` at the thirtieth attempt."""
    return f"{100 - float(f'{(1 - confidence) * 100:.3g}'):.10g} %"


# The spread that a row's gain has where both models are right or wrong, independently, half of the time.
ASSUMED_SPREAD = 0.7


def smallest_gain(rows: int, gate: Gate) -> float | None:
    """What so many independent rows show in 4 of 5 cases at a first attempt, by an assumed spread; None if above 1.
    Quantiles of Student's t by the first term of their expansion (Fisher and Cornish 1960)."""
    found = ((1 + confidence_of(1, gate.confidence)) / 2, POWER)
    normal = [NormalDist().inv_cdf(share) for share in found]
    student = sum(z + (z**3 + z) / (4 * max(1, rows - 1)) for z in normal)
    shown = student * ASSUMED_SPREAD / math.sqrt(max(1, rows)) + gate.min_gain
    return round(shown, 3) if shown < 1 else None


def gate_verdict(result: EvaluationResult, settings: Evaluation) -> Verdict:
    """Apply the gate, a check for each of its settings: docs/explanation/evaluation.md."""
    gate, mean = settings.gate, result.candidate.mean
    rows = result.candidate.rows if result.groups is None else result.groups
    what = "held-out rows" if result.groups is None else "groups of held-out rows"
    same_template = result.template_sha256 == result.base_template_sha256
    differ = result.answers_differ
    checks = [
        _check("min_rows", rows >= gate.min_rows, f"{rows} {what}, at least {gate.min_rows} needed"),
        _graders_worked(result),
        _check("min_score", mean >= gate.min_score, f"candidate scores {mean:.3f}, at least {gate.min_score:.3f}"),
        _check("same_template", same_template, "the candidate is asked with the chat template of its base, by SHA-256"),
        _check("adapter_has_effect", differ > 0, f"{differ:.0%} of the answers differ from the base model's"),
        *_floor_checks(result, settings.floors),
        *(_must_lie_above(f"gain_over_{gain.over}", gain, gate.min_gain, result) for gain in result.gains),
        *_lookup_checks(result, gate),
        *_pair_checks(result, gate),
        *(_slice_check(part, gate) for part in result.slices),
        *_general_checks(result, gate),
        *_memorized_checks(result, gate),
        *_canary_checks(result, gate),
    ]
    return Verdict(passed=not any(check.blocks for check in checks), checks=tuple(checks))


def _check(name: str, passed: bool, detail: str, *, skipped: bool = False) -> GateCheck:
    return GateCheck(name=name, passed=passed, detail=detail, skipped=skipped)


def _graders_worked(result: EvaluationResult) -> GateCheck:
    if not result.errors:
        return _check("graders_worked", True, "every answer was graded")
    failed, first = sum(error.count for error in result.errors), result.errors[0]
    where = f"{first.grader} on row {first.rows[0]} of {first.model}, {first.code}: {first.message}"
    return _check("graders_worked", not failed, f"{failed} answers could not be graded; first: {where}")


def _floor_checks(result: EvaluationResult, floors: dict[str, float]) -> list[GateCheck]:
    checks = []
    for grader, floor in floors.items():
        measured = [part for part in result.floors if part.grader == grader]
        for part in measured:
            where = "" if part.field is None else f":{part.field}={part.value}"
            first = f", first {', '.join(map(str, part.failed_rows))}" if part.failed else ""
            detail = f"mean {part.mean:.3f}, at least {floor:.3f}; below 1 on {part.failed} of {part.rows} rows{first}"
            checks.append(_check(f"grader:{grader}{where}", part.mean >= floor - ROUNDING, detail))
        if not measured:
            checks.append(_check(f"grader:{grader}", False, "the report has no mean of it"))
    return checks


def _must_lie_above(name: str, gain: Gain, least: float, result: EvaluationResult) -> GateCheck:
    sure = f" at {percent(result.gain_confidence)} (attempt {result.attempt})" if result.gain_confidence else ""
    shown = f"; {detectable(gain, least)}" if gain.detectable else ""
    detail = f"{_interval(gain)} over {gain.over}{sure}, must lie above {least:.3f}{shown}"
    return _check(name, gain.low > least, detail)


def detectable(gain: Gain, least: float = 0.0) -> str:
    """What the held-out rows can show, in words."""
    return f"such rows show a gain of {(gain.detectable or 0) + least:.3f} in 4 of 5 cases"


def _lookup_checks(result: EvaluationResult, gate: Gate) -> list[GateCheck]:
    """The candidate against the best of the baselines, where the gate asks for it."""
    if gate.gain_over_lookup is None:
        return []
    if not result.baselines:
        detail = f"not applicable: {result.no_baselines}" if result.no_baselines else "the report has no baselines"
        return [_check("gain_over_lookup", False, detail, skipped=bool(result.no_baselines))]
    best = max(result.baselines, key=lambda baseline: baseline.score.mean)
    return [_must_lie_above("gain_over_lookup", best.gain, gate.gain_over_lookup, result)]


def _pair_checks(result: EvaluationResult, gate: Gate) -> list[GateCheck]:
    if gate.min_pair_agreement is None:
        return []
    pairs, least = result.pairs.get("candidate"), gate.min_pair_agreement
    detail = f"{pairs} groups answered alike, at least {least:.3f}" if pairs else "no two held-out rows are a pair"
    passed = pairs is not None and pairs.hits / pairs.rows >= least - ROUNDING
    return [_check("pair_agreement", passed, detail)]


def _slice_check(part: SliceScore, gate: Gate) -> GateCheck:
    baseline = part.base if part.champion is None else part.champion
    change = f"{baseline:.3f} -> {part.candidate:.3f} over {part.rows} rows"
    held = not _significantly_worse(part.gain, gate.max_regression)
    return _check(f"slice:{part.field}={part.value}", held, f"{change}: {_interval(part.gain)} over {part.gain.over}")


def _general_checks(result: EvaluationResult, gate: Gate) -> list[GateCheck]:
    if gate.max_general_regression is None:
        return []
    checks = []
    for name, mean in result.general_lacking.items():
        detail = f"not applicable: the base itself scores {mean:.3f}, below {GENERAL_MIN_BASE}"
        checks.append(_check(f"general:{name}", True, detail, skipped=True))
    for part in result.general:
        change = f"{part.base.mean:.3f} -> {part.candidate.mean:.3f}"
        detail = f"{change} over {part.base.rows} questions: {_interval(part.gain)} over base"
        skipped = part.base.mean < GENERAL_MIN_BASE  # in a report of an earlier version, which put all to all models
        held = not _significantly_worse(part.gain, gate.max_general_regression)
        checks.append(_check(f"general:{part.part}", held, detail, skipped=skipped))
    return checks


def _memorized_checks(result: EvaluationResult, gate: Gate) -> list[GateCheck]:
    found = result.memorized.get("candidate")
    if gate.max_memorized is None or found is None:
        return []
    first = f", first {', '.join(map(str, result.memorized_rows))}" if found.hits else ""
    chance = f"of the references {result.memorized_by_chance:.3f} do"
    what = f"repeat a training row that has nothing to do with the question, in {SPAN} words or more"
    detail = f"{found} answers {what}{first}; {chance}"
    return [_check("memorized", found.low <= gate.max_memorized + result.memorized_by_chance, detail)]


def _canary_checks(result: EvaluationResult, gate: Gate) -> list[GateCheck]:
    planted, verbatim = len(result.canaries), [one.number for one in result.canaries if one.verbatim]
    if not planted:
        return []
    first = f": {', '.join(verbatim[:5])}" if verbatim else ""
    exposure = sum(one.exposure for one in result.canaries) / planted
    detail = f"{len(verbatim)} of {planted} canaries come out verbatim{first}; mean exposure {exposure:.1f} bits"
    return [_check("canaries", not verbatim, detail, skipped=gate.max_memorized is None)]


def _significantly_worse(gain: Gain, tolerated: float) -> bool:
    """Whether the drop exceeds the tolerance and is not noise: its whole interval lies below 0."""
    return gain.mean < -tolerated and gain.high < 0


def _interval(gain: Gain) -> str:
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
