"""Jobs that train and evaluate nothing, for tests of what happens around them.

    python -m tests.stack.stub_jobs training_job.train|training_job.evaluate|... OPTIONS...

Each is a process of its own, has the command line of the real one, writes the files that the pipeline reads, asks the
judges that its recipe names, and ends as the real one does, also when it is stopped. Validations and imports are the
real ones. A job that the recipe's `use_case` names, as in `hold training-1 evaluation-1`, waits until `release` lets it
continue. With the word `broken` in it the training fails, with `worse` it teaches what the gate refuses.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import yaml

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult, Gain, GradedRow, Score
from shared.domain.results import CURVE_FILE
from tests.stack import stub_server
from training_job import evaluate, train, validate
from training_job.job.files import write_json, write_lines
from training_job.job.runtime import RunningMetrics, parse_arguments, read_recipe, run_job

STEPS = 4
BASELINES: tuple[Literal["base", "champion"], ...] = ("base", "champion")
BASE_ANSWER = "what the base model answers"


def release(root: Path, run_id: str, job: str) -> None:
    """Let a job of the stack in this folder continue; `job` is its stage and attempt."""
    _gate(root / "blobs" / "runs" / run_id, job).touch()


def _gate(run_folder: Path, job: str) -> Path:
    return run_folder / f"release-{job}"


def main() -> int:
    program, *options = sys.argv[1:]
    work: dict[str, Callable[[list[str]], int]] = {
        "training_job.train": train_stub,
        "training_job.evaluate": evaluate_stub,
        "training_job.validate": validate_when_released,
        "training_job.import_base": _import_base,
    }
    return work[program](options)


def train_stub(options: list[str]) -> int:
    task = parse_arguments(train.TrainArguments, "stub of training_job.train", train.__doc__, options)

    def work(metrics: RunningMetrics) -> None:
        _wait_if_held(read_recipe(task.recipe).requested.use_case, task.job_name, task.recipe.parent)
        if "broken" in read_recipe(task.recipe).requested.use_case.split():
            raise PermanentFailure(FailureClass.DATA, "broken", "the test wants it so")
        steps = range(1, STEPS + 1)
        write_lines(
            task.output / CURVE_FILE, [{"step": step, "total_steps": STEPS, "loss": 1 / step} for step in steps]
        )
        metrics.last_step = metrics.total_steps = STEPS
        merged = task.output / "model" / "merged"
        merged.mkdir(parents=True, exist_ok=True)
        (merged / stub_server.ANSWER).write_text(f"what {task.job_name} taught")

    return run_job(task.job_name, task.output, work)


def evaluate_stub(options: list[str]) -> int:
    task = parse_arguments(evaluate.EvaluateArguments, "stub of training_job.evaluate", evaluate.__doc__, options)

    def work(metrics: RunningMetrics) -> None:
        _wait_if_held(read_recipe(task.recipe).requested.use_case, task.job_name, task.recipe.parent)
        if task.judges is not None:
            _ask_judges(task)
        rows = (task.data / "eval.jsonl").read_bytes().splitlines()
        answers = {"base": BASE_ANSWER, "candidate": (task.candidate / stub_server.ANSWER).read_text()}
        good = "worse" not in read_recipe(task.recipe).requested.use_case.split()
        scores = {"base": 0.5, "candidate": float(good)}
        graded = [GradedRow(row=number, scores=scores, answers=answers) for number, _ in enumerate(rows, 1)]
        write_lines(task.output / "rows.jsonl", [row.model_dump(mode="json") for row in graded])
        metrics.last_step = metrics.total_steps = len(rows)
        write_json(task.output / "report.json", _report(len(rows), good, task.champion).model_dump(mode="json"))

    return run_job(task.job_name, task.output, work)


def validate_when_released(options: list[str]) -> int:
    task = validate.parse(options)

    def work(_: RunningMetrics) -> None:
        use_case = yaml.safe_load(task.recipe.read_bytes())["use_case"] if task.recipe else ""
        _wait_if_held(use_case, task.job_name, task.output.parent)
        validate.validate_files(task)

    return run_job(task.job_name, task.output, work)


def _ask_judges(task: evaluate.EvaluateArguments) -> None:
    from shared.grading.engine import Engine
    from training_job.evaluation.judges import read_judges

    graders = read_recipe(task.recipe).requested.evaluation.graders
    with Engine(graders, read_judges(task.judges, graders, None)) as engine:
        engine.grade(["an answer"], [{}])


def _import_base(options: list[str]) -> int:
    from training_job import import_base

    return import_base.main(options)


def _wait_if_held(use_case: str, job_name: str, run_folder: Path) -> None:
    job = "-".join(job_name.rsplit("-", 2)[1:])
    if job in use_case.split():
        while not _gate(run_folder, job).exists():
            time.sleep(0.05)


def _report(rows: int, good: bool, champion: Path | None) -> EvaluationResult:
    """All of the candidate's answers are right, or none; half of the others' are."""
    half, gain = Score(mean=0.5, low=0.5, high=0.5, rows=rows), 0.5 if good else -0.5
    score = float(good)
    return EvaluationResult(
        base=half,
        candidate=Score(mean=score, low=score, high=score, rows=rows),
        champion=half if champion else None,
        gains=tuple(
            Gain(over=baseline, mean=gain, low=gain, high=gain) for baseline in BASELINES[: 2 if champion else 1]
        ),
        answers_differ=1.0,
        template_sha256="0" * 64,
        base_template_sha256="0" * 64,
    )


if __name__ == "__main__":
    sys.exit(main())
