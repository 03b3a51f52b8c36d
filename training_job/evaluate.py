"""Evaluate a candidate on held-out rows, against the base model and the model in production.

Models are merged folders, scored exactly as they will be served. Writes report.json (EvaluationResult), rows.jsonl,
samples.json, metrics.jsonl and, always, result.json. Exit codes: training_job/job/runtime.py."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson

from shared.domain.evaluation import CanaryFound, GeneralPart
from shared.domain.planning.methods import served_tokens
from shared.domain.prompts import Row, as_dialogue, prompt_of, reference_index
from shared.domain.recipe import Evaluation, Reinforcement, ResolvedRecipe
from shared.domain.results import CURVE_FILE
from training_job.data.canaries import canaries, exposure
from training_job.evaluation import report, scoring
from training_job.evaluation.baselines import BaselineAnswers, baseline_answers
from training_job.evaluation.general import MAX_NEW_TOKENS, Suite, load_suite
from training_job.evaluation.judges import Panel, read_judges
from training_job.evaluation.memorization import repeats
from training_job.evaluation.scoring import Answers, Question
from training_job.job.files import append_line, model_folder, write_json, write_lines
from training_job.job.processes import importing
from training_job.job.runtime import RunningMetrics, parse_arguments, read_recipe, require, run_job, work_offline
from training_job.selftest import check_machine

if TYPE_CHECKING:
    from training_job.evaluation.answers import TextGenerator


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """The command line."""

    job_name: Annotated[str, "named in the result"]
    data: Annotated[Path, "curated version with eval.jsonl, and train.jsonl for the baselines"]
    base_model: Annotated[Path, "Hugging Face folder"]
    recipe: Annotated[Path, "resolved recipe, JSON"]
    candidate: Annotated[Path, "merged model folder"]
    champion: Annotated[Path | None, "merged folder of the model in production"] = None
    answers: Annotated[Path | None, "folder of answers kept by content; read and added to"] = None
    judges: Annotated[Path | None, "where the judges of score_model graders are, JSON"] = None
    attempt: Annotated[int, "at these held-out rows, from 1; the later, the more sure a gain has to be"] = 1
    output: Annotated[Path, "folder for report and rows"]

    def models(self) -> dict[str, Path]:
        """Model folders by the name they have in the report."""
        folders = {"base": model_folder(self.base_model), "candidate": self.candidate}
        return folders | ({"champion": self.champion} if self.champion else {})


def main(argv: list[str] | None = None) -> int:
    task = parse_arguments(EvaluateArguments, "training_job.evaluate", __doc__, argv)
    work_offline()
    return run_job(task.job_name, task.output, lambda metrics: evaluate(task, metrics))


def evaluate(task: EvaluateArguments, metrics: RunningMetrics) -> None:
    """Answer, score, compare, write: see the module. Raises PermanentFailure with the class of what is wrong."""
    held_out = task.data / "eval.jsonl"
    require(held_out, task.recipe, *task.models().values())
    recipe = read_recipe(task.recipe)
    check_machine(recipe)
    settings = recipe.requested.evaluation
    rows = read_dialogues(held_out, recipe)
    panel = read_judges(task.judges, settings.graders, task.answers)
    suite = None if settings.gate.max_general_regression is None else load_suite()
    metrics.total_steps = (len(rows) + (len(suite.rows) if suite else 0)) * len(task.models())
    progress = AnsweringProgress(task.output, metrics)
    outputs, lacking = dict[str, ModelOutputs](), dict[GeneralPart, float]()
    for name, folder in task.models().items():
        outputs[name] = generate_all(folder, rows, suite, task, recipe, progress.of(name))
        if name == "base" and suite:  # it is the first
            lacking = suite.lacking(outputs[name].general)
            answered = [outputs[name].general[i] for i in suite.outside(lacking)]
            metrics.total_steps -= (len(suite.rows) - len(answered)) * (len(task.models()) - 1)
            outputs[name], suite = replace(outputs[name], general=answered), suite.without(lacking)
    prompts = [question.prompt for question in outputs["candidate"].questions]
    baselines = baseline_answers(task.data / "train.jsonl", prompts, settings.graders)
    of_rows = (recipe.requested.data.split_group, task.attempt)
    train = task.data / "train.jsonl"
    write_report(task.output, settings, rows, suite, outputs, panel, baselines, lacking, train, *of_rows)


def read_dialogues(held_out: Path, recipe: ResolvedRecipe) -> list[Row]:
    """The held-out rows as dialogues. Checks, before any model is loaded, that graders find their fields. Raises
    PermanentFailure: `no_reference` of class data, `grader_field_missing` of class recipe."""
    with importing():
        from training_job.data import chat_rows

    rows = [as_dialogue(row) for row in chat_rows.read_rows(held_out, as_dialogue)]
    without_reference = [n for n, row in enumerate(rows, start=1) if reference_index(row) is None]
    if without_reference and not isinstance(recipe.requested.method, Reinforcement):
        raise chat_rows.data_failure("no_reference", "without an answer that is learned", without_reference, held_out)
    # The reference needs the template, so another text stands for it here.
    references = [None if n in without_reference else "answer" for n in range(1, len(rows) + 1)]
    scoring.require_fields(recipe.requested.evaluation.graders, fields_of(rows, references))
    return rows


def fields_of(rows: list[Row], references: list[str | None]) -> list[dict[str, Any]]:
    """What graders read of each row: its fields; `messages`, what is asked, and `answer` in place of such fields."""
    return [
        row.get("item", {}) | prompt_of(row).item() | ({} if reference is None else {"answer": reference})
        for row, reference in zip(rows, references, strict=True)
    ]


@dataclass(frozen=True)
class ModelOutputs:
    """One model's answers to the held-out rows and to the general suite."""

    questions: list[Question]
    answers: Answers
    general: list[str]
    template_sha256: str
    canaries: tuple[CanaryFound, ...] = ()


def generate_all(
    folder: Path,
    rows: list[Row],
    suite: Suite | None,
    task: EvaluateArguments,
    recipe: ResolvedRecipe,
    progress: Callable[[int], None],
) -> ModelOutputs:
    """All answers of one model, with its own tokenizer and template."""
    import torch

    from training_job.data.chat_rows import data_failure
    from training_job.evaluation.answers import TextGenerator

    base = recipe.entry  # a tuned model's template was saved with its arguments
    arguments = base.template_arguments if folder == task.models()["base"] else {}
    generator = TextGenerator(folder, getattr(torch, recipe.hyperparameters.compute_dtype), task.answers, arguments)
    questions = generator.questions(rows)
    served = served_tokens(recipe.requested, recipe.hyperparameters.max_length_tokens, base)
    limit = served - recipe.requested.evaluation.max_new_tokens
    if long := [question.number for question in questions if len(question.ids) > limit]:
        what = f"whose prompt and answer may be longer than the {served} tokens that are served"
        raise data_failure("prompt_too_long", what, long, task.data / "eval.jsonl")
    answers = generator.answers(questions, recipe.requested.evaluation.max_new_tokens, progress)
    general: list[str] = []
    if suite and suite.rows:
        of_suite = generator.questions(suite.rows)
        general = generator.answers(of_suite, MAX_NEW_TOKENS, lambda n: progress(len(questions) + n)).texts
    found = find_canaries(generator, recipe) if folder == task.candidate else ()
    return ModelOutputs(questions, answers, general, generator.bundle.template_sha256, found)


def find_canaries(generator: "TextGenerator", recipe: ResolvedRecipe) -> tuple[CanaryFound, ...]:
    """Ask for each record that training planted, and compare the loss of its number with those of others."""
    planted, found = canaries(recipe), []
    questions = generator.questions([canary.row for canary in planted])
    texts = generator.answers(questions, MAX_NEW_TOKENS, lambda _: None).texts if planted else []
    for canary, text in zip(planted, texts, strict=True):
        loss, *others = generator.losses([one.row for one in (canary, *canary.alternatives())])
        verbatim, bits = canary.number in text, exposure(loss, others)
        found.append(CanaryFound(number=canary.number, verbatim=verbatim, exposure=bits))
    return tuple(found)


class AnsweringProgress:
    """Reports how many rows are answered, over all models."""

    def __init__(self, output: Path, metrics: RunningMetrics) -> None:
        self._path, self._metrics, self._since = output / CURVE_FILE, metrics, time.monotonic()
        self._path.unlink(missing_ok=True)

    def of(self, model: str) -> Callable[[int], None]:
        """A callback that takes the number of rows one model has answered."""
        before = self._metrics.last_step

        def report(rows: int) -> None:
            done, total = before + rows, self._metrics.total_steps
            eta = round((time.monotonic() - self._since) / done * (total - done), 1)
            self._metrics.last_step = done
            append_line(self._path, {"step": done, "total_steps": total, "model": model, "rows": rows, "eta_s": eta})
            print(f"answers {done}/{total} ({model}) eta {eta:.0f} s", flush=True)

        return report


def write_report(
    output: Path,
    settings: Evaluation,
    rows: list[Row],
    suite: Suite | None,
    outputs: dict[str, ModelOutputs],
    panel: Panel,
    baselines: BaselineAnswers,
    lacking: dict[GeneralPart, float],
    train: Path,
    group: str | None = None,
    attempt: int = 1,
) -> None:
    """Grade all answers; write report.json last, after the rows and samples it sums up."""
    questions = outputs["candidate"].questions
    own = [row.get("item", {}) for row in rows]  # a slice by `answer` is by the field
    items = fields_of(rows, [question.reference for question in questions])
    models = {
        name: scoring.grade_answers(settings.graders, one.answers.texts, items, panel) for name, one in outputs.items()
    }
    unscored = scoring.unscored_rows(models)
    write_rows(output, settings, questions, own, models, unscored)
    samples = scoring.pick_samples(questions, models, leave_out=unscored)
    write_json(output / "samples.json", [sample.model_dump(mode="json") for sample in samples])
    answers = {name: one.answers for name, one in outputs.items()}
    templates = {name: one.template_sha256 for name, one in outputs.items()}
    of_suite = {name: one.general for name, one in outputs.items()}
    general = suite.compare(of_suite, settings.gate.confidence) if suite else ()
    without = {name: scoring.grade_answers(settings.graders, texts, items) for name, texts in baselines.texts.items()}
    details = (panel.uses(), unscored, without, baselines.reason)
    prompts = [orjson.dumps(question.ids) for question in questions]
    result = report.summarize(settings, own, models, answers, templates, general, *details, group, attempt, prompts)
    scored = [i for i in range(len(items)) if i not in unscored]
    kept, sure, pairs = [items[i] for i in scored], settings.gate.confidence, settings.pairs
    all_texts = {name: one.texts for name, one in models.items()}
    texts = {name: [each[i] for i in scored] for name, each in all_texts.items()}
    by_label = {name: report.label_rates(settings.graders, each, kept, sure) for name, each in texts.items()}
    alike = {name: report.pairs_alike(pairs, each, kept, sure) for name, each in texts.items()} if pairs else {}
    conversations, references = [one.prompt for one in questions], [one.reference or "" for one in questions]
    repeated, by_chance = repeats(train, conversations, references, all_texts)
    memorized = {name: report.share(sum(found), len(found), sure) for name, found in repeated.items()}
    first = [n for n, found in enumerate(repeated["candidate"], start=1) if found][: scoring.ROWS_NAMED]
    more = {"memorized": memorized, "memorized_rows": tuple(first), "memorized_by_chance": by_chance}
    more |= {"general_lacking": lacking, "canaries": outputs["candidate"].canaries}
    result = result.model_copy(update={"rates": by_label, "pairs": alike, **more})
    write_json(output / "report.json", result.model_dump(mode="json"))
    print(", ".join(f"{name} {answers.scores.mean():.3f}" for name, answers in models.items()), flush=True)


def write_rows(
    output: Path,
    settings: Evaluation,
    questions: list[Question],
    items: scoring.Items,
    models: scoring.Models,
    unscored: frozenset[int],
) -> None:
    """Write rows.jsonl: every held-out row with each model's answer and scores."""
    slices = {name: scoring.slice_values(name, items) for name in settings.slices}
    lines = []
    for i, question in enumerate(questions):
        own = {name: value for name, values in slices.items() if (value := values[i]) is not None}
        row = report.graded_row(question, own, models, unscored=i in unscored)
        lines.append(row.model_dump(mode="json"))
    write_lines(output / "rows.jsonl", lines)


if __name__ == "__main__":
    sys.exit(main())
