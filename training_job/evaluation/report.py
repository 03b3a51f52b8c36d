"""The evaluation's report out of all models' answers. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.domain.evaluation import BaselineName, BaselineScore, EvaluationResult, GeneralScore, GradedRow
from shared.domain.judges import JudgeUse
from shared.domain.recipe import Evaluation
from training_job.evaluation import scoring
from training_job.evaluation.scoring import GradedAnswers

if TYPE_CHECKING:
    from training_job.evaluation.answers import Question

BOOTSTRAP_SEED = 20_240_229


@dataclass(frozen=True)
class Generation:
    """By model: tokens of each answer, whether it was cut `[rows]`, seconds for all, and the chat template's hash."""

    tokens: dict[str, list[int]]
    at_limit: dict[str, list[bool]]
    seconds: dict[str, float]
    templates: dict[str, str]


@dataclass(frozen=True)
class JudgeReport:
    """The use that was made of LLM judges, and the rows, by index, that they left without a score."""

    uses: tuple[JudgeUse, ...] = ()
    unscored: frozenset[int] = frozenset()


NO_JUDGES = JudgeReport()


def summarize(
    settings: Evaluation,
    items: list[dict[str, Any]],
    models: dict[str, GradedAnswers],
    generation: Generation,
    general: tuple[GeneralScore, ...],
    judges: JudgeReport = NO_JUDGES,
    baselines: dict[BaselineName, GradedAnswers] | None = None,
    no_baselines: str | None = None,
) -> EvaluationResult:
    """Scores, gains and slices of the same held-out rows for base, candidate and, if there is one, champion: of those
    that every model has a score for."""
    errors, rows = scoring.grading_errors(models), len(items)
    scored = [i for i in range(rows) if i not in judges.unscored]
    items, models = [items[i] for i in scored], {name: answers.only(scored) for name, answers in models.items()}
    confidence = settings.gate.confidence
    bootstrap = scoring.Bootstrap(len(items), confidence, BOOTSTRAP_SEED)
    candidate, base = models["candidate"], models["base"]
    gains = [bootstrap.gain("base", candidate.scores, base.scores)]
    if "champion" in models:
        gains.append(bootstrap.gain("champion", candidate.scores, models["champion"].scores))
    return EvaluationResult(
        **{name: bootstrap.score(answers.scores) for name, answers in models.items()},
        gains=tuple(gains),
        baselines=tuple(
            BaselineScore(
                name=name,
                score=bootstrap.score(scores := answers.scores[scored]),
                gain=bootstrap.gain(name, candidate.scores, scores),
            )
            for name, answers in (baselines or {}).items()
        ),
        no_baselines=no_baselines,
        graders=scoring.grader_scores(models, bootstrap),
        slices=scoring.slice_scores(settings.slices, items, models, confidence, BOOTSTRAP_SEED),
        floors=scoring.floor_scores(settings.floors, settings.slices, items, candidate, [i + 1 for i in scored]),
        general=general,
        errors=errors,
        judges=judges.uses,
        unscored=len(judges.unscored),
        answers_differ=float(np.mean([a != b for a, b in zip(candidate.texts, base.texts, strict=True)])),
        template_sha256=generation.templates["candidate"],
        base_template_sha256=generation.templates["base"],
        tokens_per_answer={name: float(np.mean(tokens)) for name, tokens in generation.tokens.items()},
        answers_at_limit={name: float(np.mean(cut)) for name, cut in generation.at_limit.items()},
        seconds_per_answer={name: seconds / rows for name, seconds in generation.seconds.items()},
    )


def graded_row(
    question: Question, slices: dict[str, str], models: dict[str, GradedAnswers], *, unscored: bool
) -> GradedRow:
    """A row with each model's answer and scores. The rollout's probe compares with these answers."""
    i = question.number - 1
    return GradedRow(
        row=question.number,
        prompt_tokens=len(question.ids),
        prompt=question.prompt,
        reference=question.reference or "",
        slices=slices,
        unscored=unscored,
        scores={} if unscored else {name: float(answers.scores[i]) for name, answers in models.items()},
        sub_scores={name: answers.grades[i].parts for name, answers in models.items()},
        reasons={name: reasons for name, answers in models.items() if (reasons := answers.grades[i].reasons)},
        answers={name: answers.texts[i] for name, answers in models.items()},
    )
