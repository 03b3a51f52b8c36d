"""The evaluation's report out of all models' answers. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.domain.evaluation import EvaluationResult, GeneralScore, GradedRow
from shared.domain.judges import JudgeUse
from shared.domain.recipe import Evaluation
from training_job.evaluation import scoring
from training_job.evaluation.scoring import Judged

BOOTSTRAP_SEED = 20_240_229


@dataclass(frozen=True)
class Measured:
    """By model: tokens of each answer `[rows]`, seconds for all of them, and the hash of its chat template."""

    tokens: dict[str, list[int]]
    seconds: dict[str, float]
    templates: dict[str, str]


@dataclass(frozen=True)
class Judging:
    """What judges were asked, and the rows, by index, that they left without a score."""

    uses: tuple[JudgeUse, ...] = ()
    unscored: frozenset[int] = frozenset()


NO_JUDGES = Judging()


def summarize(
    wanted: Evaluation,
    items: list[dict[str, Any]],
    models: dict[str, Judged],
    measured: Measured,
    general: tuple[GeneralScore, ...],
    judging: Judging = NO_JUDGES,
) -> EvaluationResult:
    """Scores, gains and slices of the same held-out rows for base, candidate and, if there is one, champion: of those
    that every model has a score for."""
    errors, answers = scoring.grading_errors(models), len(items)
    scored = [i for i in range(answers) if i not in judging.unscored]
    items, models = [items[i] for i in scored], {name: judged.only(scored) for name, judged in models.items()}
    confidence = wanted.gate.confidence
    bootstrap = scoring.Bootstrap(len(items), confidence, BOOTSTRAP_SEED)
    candidate, base = models["candidate"], models["base"]
    gains = [bootstrap.gain("base", candidate.scores, base.scores)]
    if "champion" in models:
        gains.append(bootstrap.gain("champion", candidate.scores, models["champion"].scores))
    return EvaluationResult(
        **{name: bootstrap.score(judged.scores) for name, judged in models.items()},
        gains=tuple(gains),
        graders=scoring.grader_scores(models, bootstrap),
        slices=scoring.slice_scores(wanted.slices, items, models, confidence, BOOTSTRAP_SEED),
        general=general,
        errors=errors,
        judges=judging.uses,
        unscored=len(judging.unscored),
        answers_differ=float(np.mean([a != b for a, b in zip(candidate.texts, base.texts, strict=True)])),
        template_sha256=measured.templates["candidate"],
        base_template_sha256=measured.templates["base"],
        tokens_per_answer={name: float(np.mean(tokens)) for name, tokens in measured.tokens.items()},
        seconds_per_answer={name: seconds / answers for name, seconds in measured.seconds.items()},
    )


def judged_row(
    number: int,
    asked: str,
    reference: str,
    prompt_tokens: int,
    slices: dict[str, str],
    models: dict[str, Judged],
    *,
    unscored: bool,
) -> GradedRow:
    """Row `number`, from 1, with each model's answer and scores. The rollout's probe compares with these answers."""
    i = number - 1
    return GradedRow(
        row=number,
        prompt_tokens=prompt_tokens,
        prompt=asked,
        reference=reference,
        slices=slices,
        unscored=unscored,
        scores={} if unscored else {name: float(judged.scores[i]) for name, judged in models.items()},
        sub_scores={name: judged.grades[i].parts for name, judged in models.items()},
        reasons={name: said for name, judged in models.items() if (said := judged.grades[i].reasons)},
        answers={name: judged.texts[i] for name, judged in models.items()},
    )
