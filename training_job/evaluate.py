"""Judge a candidate on held-out rows, against the base model and the model in production.

    python -m training_job.evaluate --job-name NAME --data DIR --base-model DIR --recipe FILE
        --candidate DIR [--champion DIR] --output DIR

CANDIDATE and CHAMPION are merged model folders, scored exactly as they will be served. Writes report.json
(EvaluationResult), rows.jsonl, samples.json, metrics.jsonl and, always, result.json.
Exit codes: training_job/exit_codes.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.domain.evaluation import EvaluationResult
from shared.domain.recipe import ResolvedRecipe
from training_job import scoring
from training_job.curve import METRICS_FILE
from training_job.files import append_line, model_folder, write_json, write_lines
from training_job.job import Tally, read_recipe, require, run_job, try_machine, work_offline

if TYPE_CHECKING:
    from training_job.answers import Answers, Question

BOOTSTRAP_SEED = 20_240_229


@dataclass(frozen=True)
class Task:
    """The command line."""

    job_name: str
    data: Path
    base_model: Path
    recipe: Path
    candidate: Path
    champion: Path | None
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
    parser.add_argument("--output", type=Path, required=True, help="folder for report and rows")
    return Task(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    task = parse(argv)
    work_offline()
    return run_job(task.job_name, task.output, lambda tally: evaluate(task, tally))


def evaluate(task: Task, tally: Tally) -> None:
    """Answer, score, compare, write; see the module's text for the files.

    Raises PermanentFailure with the class of what is wrong.
    """
    held_out = task.data / "eval.jsonl"
    require(held_out, task.recipe, *task.models().values())
    recipe = read_recipe(task.recipe)
    try_machine(recipe)

    import torch

    from training_job import answers, chat_rows, quantised

    rows = chat_rows.read_rows(held_out)
    mute = [n for n, row in enumerate(rows, start=1) if answers.last_assistant(row) is None]
    if mute:
        raise chat_rows.data_failure("no_reference", "without an assistant message", mute, held_out)
    tokenizer = quantised.load_tokenizer(task.candidate)
    bundle = chat_rows.bundle_of(tokenizer)
    questions = [answers.question(bundle, row, n) for n, row in enumerate(rows, start=1)]
    items = [{"answer": q.reference} | row.get("item", {}) for row, q in zip(rows, questions, strict=True)]
    tally.total_steps = len(questions) * len(task.models())
    said = Progress(task.output, tally)
    dtype = getattr(torch, recipe.hyperparameters.compute_dtype)
    given = {
        name: answers.answer_all(
            folder, tokenizer, questions, dtype, recipe.recipe.evaluation.max_new_tokens, said.about(name)
        )
        for name, folder in task.models().items()
    }
    write_report(task.output, recipe, questions, items, given, bundle.template_sha256)


class Progress:
    """Says how far the evaluation is, in rows over all models."""

    def __init__(self, output: Path, tally: Tally) -> None:
        self._path, self._tally, self._since = output / METRICS_FILE, tally, time.monotonic()
        self._path.unlink(missing_ok=True)

    def about(self, model: str) -> Any:
        """A callback that takes the number of rows one model has answered."""
        before = self._tally.last_step

        def said(rows: int) -> None:
            done, total = before + rows, self._tally.total_steps
            eta = round((time.monotonic() - self._since) / done * (total - done), 1)
            self._tally.last_step = done
            append_line(self._path, {"step": done, "total_steps": total, "model": model, "rows": rows, "eta_s": eta})
            print(f"answers {done}/{total} ({model}) eta {eta:.0f} s", flush=True)

        return said


def write_report(
    output: Path,
    recipe: ResolvedRecipe,
    questions: list[Question],
    items: list[dict[str, Any]],
    given: dict[str, Answers],
    template: str,
) -> None:
    """Write report.json last, after the rows and samples it sums up."""
    wanted = recipe.recipe.evaluation
    models = {name: scoring.judge_answers(wanted.graders, answers.texts, items) for name, answers in given.items()}
    write_lines(output / "rows.jsonl", row_lines(questions, models))
    samples = scoring.pick_samples(
        [q.number for q in questions], [q.asked for q in questions], [q.reference for q in questions], models
    )
    write_json(output / "samples.json", [sample.model_dump(mode="json") for sample in samples])
    bootstrap = scoring.Bootstrap(len(questions), wanted.gate.confidence, BOOTSTRAP_SEED)
    scores = {name: bootstrap.score(judged.scores) for name, judged in models.items()}
    candidate = models["candidate"]
    gains = [bootstrap.gain("base", candidate.scores, models["base"].scores)]
    if "champion" in models:
        gains.append(bootstrap.gain("champion", candidate.scores, models["champion"].scores))
    differ = [a != b for a, b in zip(candidate.texts, models["base"].texts, strict=True)]
    report = EvaluationResult(
        **scores,
        gains=tuple(gains),
        slices=scoring.slice_scores(wanted.slices, items, models),
        answers_differ=float(np.mean(differ)),
        template_sha256=template,
        tokens_per_answer={name: float(np.mean(answers.tokens)) for name, answers in given.items()},
        seconds_per_answer={name: answers.seconds / len(questions) for name, answers in given.items()},
    )
    write_json(output / "report.json", report.model_dump(mode="json"))
    print(", ".join(f"{name} {score.mean:.3f}" for name, score in scores.items()), flush=True)


def row_lines(questions: list[Question], models: dict[str, scoring.Judged]) -> list[dict[str, Any]]:
    """One line a row: scores and answers by model. The rollout's probe compares with these answers."""
    return [
        {
            "row": q.number,
            "prompt_tokens": len(q.ids),
            "scores": {name: float(judged.scores[i]) for name, judged in models.items()},
            "answers": {name: judged.texts[i] for name, judged in models.items()},
        }
        for i, q in enumerate(questions)
    ]


if __name__ == "__main__":
    sys.exit(main())
