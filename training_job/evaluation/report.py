"""The evaluation's report out of all models' answers. Free of torch."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from shared.domain import evaluation
from shared.domain.graders import Grader, Label, simple_graders
from shared.domain.recipe import PAIR_NAME, Evaluation
from shared.domain.row_fields import is_missing, value_at
from shared.grading.compiled import labels_read
from shared.grading.ready import masked, plain, terms_of
from training_job.evaluation import scoring
from training_job.evaluation.scoring import Answers, GradedAnswers, Items, Models, Question


def summarize(
    settings: Evaluation,
    items: Items,
    models: Models,
    generated: dict[str, Answers],
    templates: dict[str, str],
    general: tuple[evaluation.GeneralScore, ...],
    judges: tuple[evaluation.JudgeUse, ...] = (),
    unscored: frozenset[int] = frozenset(),
    baselines: dict[evaluation.BaselineName, GradedAnswers] | None = None,
    no_baselines: str | None = None,
    group: str | None = None,
    attempt: int = 1,
    prompts: Sequence[bytes] = (),
) -> evaluation.EvaluationResult:
    """Scores, gains and slices of the held-out rows that every model has a score for. `templates`: hash of the chat
    template, by model; `unscored`: indices of rows without a judge's score; `no_baselines`: why; `group`:
    data.split_group; `attempt`: at these rows, for the confidence of gains; `prompts`: answers to the same one count as
    one."""
    errors, total = scoring.grading_errors(models), len(items)
    scored = [i for i in range(total) if i not in unscored]
    items, models = [items[i] for i in scored], {name: answers.only(scored) for name, answers in models.items()}
    confidence = settings.gate.confidence
    prompts = [prompts[i] for i in scored] if prompts else ()
    rows, sure = scoring.Rows(items, group, prompts), evaluation.confidence_of(attempt, confidence)
    candidate, base = models["candidate"], models["base"]
    gains = [rows.gain("base", candidate.scores, base.scores, sure)]
    if "champion" in models:
        gains.append(rows.gain("champion", candidate.scores, models["champion"].scores, sure))
    return evaluation.EvaluationResult(
        **{name: rows.score(answers.scores, confidence) for name, answers in models.items()},
        gains=tuple(gains),
        attempt=attempt,
        gain_confidence=sure,
        groups=rows.groups if rows.groups < len(items) else None,
        baselines=tuple(
            evaluation.BaselineScore(
                name=name,
                score=rows.score(scores := answers.scores[scored], confidence),
                gain=rows.gain(name, candidate.scores, scores, sure),
            )
            for name, answers in (baselines or {}).items()
        ),
        no_baselines=no_baselines,
        graders=scoring.grader_scores(models, rows, confidence),
        slices=scoring.slice_scores(settings.slices, items, models, confidence, group, prompts),
        floors=scoring.floor_scores(settings.floors, settings.slices, items, candidate, [i + 1 for i in scored]),
        general=general,
        errors=errors,
        judges=judges,
        unscored=len(unscored),
        answers_differ=float(np.mean([a != b for a, b in zip(candidate.texts, base.texts, strict=True)])),
        template_sha256=templates["candidate"],
        base_template_sha256=templates["base"],
        tokens_per_answer={name: float(np.mean(one.tokens)) for name, one in generated.items()},
        answers_at_limit={name: float(np.mean(one.at_limit)) for name, one in generated.items()},
        seconds_per_answer={name: one.seconds / total for name, one in generated.items()},
    )


def graded_row(question: Question, slices: dict[str, str], models: Models, *, unscored: bool) -> evaluation.GradedRow:
    """A row with each model's answer and scores. The rollout's probe compares with these answers."""
    i = question.number - 1
    return evaluation.GradedRow(
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


def share(hits: int, rows: int, confidence: float) -> evaluation.Share | None:
    """With its interval; None of no rows."""
    if not rows:
        return None
    low, high = evaluation.wilson(hits, rows, confidence)
    return evaluation.Share(hits=hits, rows=rows, low=low, high=high)


def label_rates(
    graders: Sequence[Grader], texts: Sequence[str], items: Items, confidence: float
) -> tuple[evaluation.LabelRates, ...]:
    """By each `label` grader and each of its labels."""
    found = []
    for one in simple_graders(graders):
        if isinstance(one, Label):
            read = labels_read(one, texts, items)
            for label in dict.fromkeys(map(plain, one.labels)):
                inside = [named == label for named, right in read if right == label]
                outside = [named == label for named, right in read if right != label]
                sensitivity = share(sum(inside), len(inside), confidence)
                specificity = share(len(outside) - sum(outside), len(outside), confidence)
                found.append(
                    evaluation.LabelRates(
                        grader=one.name, label=label, sensitivity=sensitivity, specificity=specificity
                    )
                )
    return tuple(found)


def pairs_alike(field: str, texts: Sequence[str], items: Items, confidence: float) -> evaluation.Share | None:
    """Groups of rows with one value of `field` whose answers are the same but for each row's own name."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text, item in zip(texts, items, strict=True):
        if not is_missing(item, field):
            answer = masked(text, terms_of(value_at(item, PAIR_NAME) or []))
            groups[plain(str(value_at(item, field)))].append(answer)
    alike = [len(set(answers)) == 1 for answers in groups.values() if len(answers) > 1]
    return share(sum(alike), len(alike), confidence)
