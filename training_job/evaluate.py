"""Judge a candidate on held-out rows, against the base model and the model in production.

    python -m training_job.evaluate --job-name NAME --data DIR --base-model DIR --recipe FILE
        --candidate DIR [--champion DIR] [--answers DIR] [--judges FILE] --output DIR

CANDIDATE and CHAMPION are merged model folders, scored exactly as they will be served. ANSWERS keeps what models
said from one evaluation to the next, and judges of them. JUDGES says where score_model graders find theirs. Writes
report.json (EvaluationResult), rows.jsonl, samples.json, metrics.jsonl and, always, result.json. Exit codes:
training_job/job/exit_codes.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.recipe import Reinforcement, ResolvedRecipe
from training_job.evaluation import report, scoring
from training_job.evaluation.general import MAX_NEW_TOKENS, Suite, load_suite
from training_job.evaluation.judges import Panel, read_judges
from training_job.job.curve import METRICS_FILE
from training_job.job.files import append_line, model_folder, write_json, write_lines
from training_job.job.runtime import RunningMetrics, read_recipe, require, run_job, try_machine, work_offline

if TYPE_CHECKING:
    from training_job.data.chat_rows import Row
    from training_job.evaluation.answers import Answers, Question


@dataclass(frozen=True)
class Task:
    """The command line."""

    job_name: str
    data: Path
    base_model: Path
    recipe: Path
    candidate: Path
    champion: Path | None
    answers: Path | None
    judges: Path | None
    output: Path

    def models(self) -> dict[str, Path]:
        """Model folders by the name they have in the report."""
        folders = {"base": model_folder(self.base_model), "candidate": self.candidate}
        return folders | ({"champion": self.champion} if self.champion else {})


def parse(argv: list[str] | None) -> Task:
    parser = argparse.ArgumentParser(prog="training_job.evaluate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--job-name", required=True, help="named in the result")
    parser.add_argument("--data", type=Path, required=True, help="curated version with eval.jsonl")
    parser.add_argument("--base-model", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--recipe", type=Path, required=True, help="resolved recipe, JSON")
    parser.add_argument("--candidate", type=Path, required=True, help="merged model folder")
    parser.add_argument("--champion", type=Path, help="merged folder of the model in production")
    parser.add_argument("--answers", type=Path, help="folder of answers kept by content; read and added to")
    parser.add_argument("--judges", type=Path, help="where the judges of score_model graders are, JSON")
    parser.add_argument("--output", type=Path, required=True, help="folder for report and rows")
    return Task(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    task = parse(argv)
    work_offline()
    return run_job(task.job_name, task.output, lambda metrics: evaluate(task, metrics))


def evaluate(task: Task, metrics: RunningMetrics) -> None:
    """Answer, score, compare, write; see the module's text for the files.

    Raises PermanentFailure with the class of what is wrong.
    """
    held_out = task.data / "eval.jsonl"
    require(held_out, task.recipe, *task.models().values())
    recipe = read_recipe(task.recipe)
    try_machine(recipe)

    from training_job.data import chat_rows
    from training_job.evaluation.answers import as_dialogue, last_assistant

    rows = [as_dialogue(row) for row in chat_rows.read_rows(held_out, as_dialogue)]
    mute = [n for n, row in enumerate(rows, start=1) if last_assistant(row) is None]
    if mute and not isinstance(recipe.requested.method, Reinforcement):
        raise chat_rows.data_failure("no_reference", "without an assistant message", mute, held_out)
    # Before anything is loaded. The row's own answer stands in for `answer`, which is worked out with the template.
    fields = [({} if n in mute else {"answer": ""}) | row.get("item", {}) for n, row in enumerate(rows, start=1)]
    scoring.require_fields(recipe.requested.evaluation.graders, fields)
    panel = read_judges(task.judges, recipe.requested.evaluation.graders, task.answers)
    suite = None if recipe.requested.evaluation.gate.max_general_regression is None else load_suite()
    metrics.total_steps = (len(rows) + (len(suite.rows) if suite else 0)) * len(task.models())
    said = Progress(task.output, metrics)
    heard = {name: hear(folder, rows, suite, task, recipe, said.about(name)) for name, folder in task.models().items()}
    write_report(task.output, recipe, rows, suite, heard, panel)


@dataclass(frozen=True)
class Heard:
    """What one model said: to the held-out rows, and to the general suite."""

    questions: list[Question]
    answers: Answers
    general: list[str]
    template_sha256: str


def hear(
    folder: Path,
    rows: list[Row],
    suite: Suite | None,
    task: Task,
    recipe: ResolvedRecipe,
    progress: Callable[[int], None],
) -> Heard:
    """Ask one model everything, with its own tokenizer and template."""
    import torch

    from training_job.evaluation.answers import Speaker

    speaker = Speaker(folder, getattr(torch, recipe.hyperparameters.compute_dtype), task.answers)
    questions = speaker.questions(rows)
    answers = speaker.answers(questions, recipe.requested.evaluation.max_new_tokens, progress)
    general: list[str] = []
    if suite:
        asked = speaker.questions(suite.rows)
        general = speaker.answers(asked, MAX_NEW_TOKENS, lambda n: progress(len(questions) + n)).texts
    return Heard(questions, answers, general, speaker.bundle.template_sha256)


class Progress:
    """Says how far the evaluation is, in rows over all models."""

    def __init__(self, output: Path, metrics: RunningMetrics) -> None:
        self._path, self._metrics, self._since = output / METRICS_FILE, metrics, time.monotonic()
        self._path.unlink(missing_ok=True)

    def about(self, model: str) -> Callable[[int], None]:
        """A callback that takes the number of rows one model has answered."""
        before = self._metrics.last_step

        def said(rows: int) -> None:
            done, total = before + rows, self._metrics.total_steps
            eta = round((time.monotonic() - self._since) / done * (total - done), 1)
            self._metrics.last_step = done
            append_line(self._path, {"step": done, "total_steps": total, "model": model, "rows": rows, "eta_s": eta})
            print(f"answers {done}/{total} ({model}) eta {eta:.0f} s", flush=True)

        return said


def write_report(
    output: Path, recipe: ResolvedRecipe, rows: list[Row], suite: Suite | None, heard: dict[str, Heard], panel: Panel
) -> None:
    """Write report.json last, after the rows and samples it sums up."""
    wanted = recipe.requested.evaluation
    questions = heard["candidate"].questions
    items = [
        ({} if q.reference is None else {"answer": q.reference}) | row.get("item", {})
        for row, q in zip(rows, questions, strict=True)
    ]
    models = {
        name: scoring.judge_answers(wanted.graders, one.answers.texts, items, panel) for name, one in heard.items()
    }
    unscored = scoring.unscored_rows(models)
    slices = {name: scoring.slice_values(name, items) for name in wanted.slices}
    lines = [
        report.judged_row(
            q.number,
            q.asked,
            q.reference or "",
            len(q.ids),
            {name: value for name, values in slices.items() if (value := values[i]) is not None},
            models,
            unscored=i in unscored,
        ).model_dump(mode="json")
        for i, q in enumerate(questions)
    ]
    write_lines(output / "rows.jsonl", lines)
    samples = scoring.pick_samples(
        [q.number for q in questions],
        [q.asked for q in questions],
        [q.reference or "" for q in questions],
        models,
        leave_out=unscored,
    )
    write_json(output / "samples.json", [sample.model_dump(mode="json") for sample in samples])
    measured = report.Measured(
        tokens={name: one.answers.tokens for name, one in heard.items()},
        seconds={name: one.answers.seconds for name, one in heard.items()},
        templates={name: one.template_sha256 for name, one in heard.items()},
    )
    general = ()
    if suite:
        said = {name: one.general for name, one in heard.items()}
        general = suite.compare(said, wanted.gate.confidence, report.BOOTSTRAP_SEED)
    judging = report.Judging(panel.uses(), unscored)
    result = report.summarize(wanted, items, models, measured, general, judging)
    write_json(output / "report.json", result.model_dump(mode="json"))
    print(", ".join(f"{name} {judged.scores.mean():.3f}" for name, judged in models.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
