"""Tune a base model on a curated dataset with QLoRA.

    python -m training_job.train --job-name NAME --data DIR --base-model DIR --recipe FILE --output DIR
        [--continue-from DIR] [--judges FILE]

DATA holds train.jsonl, eval.jsonl and manifest.json; BASE-MODEL is a Hugging Face folder; RECIPE a resolved
recipe. Writes OUTPUT/model/{adapter,merged,manifest.json}, metrics.jsonl, checkpoints/ and, always,
result.json. The same command continues where a killed one stood. Exit codes: training_job/job/exit_codes.py.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import math
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shared.domain.catalog import find_entry, find_sku
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.memory import memory_plan
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import Reinforcement, ResolvedHyperparameters, ResolvedRecipe, ResolvedReinforcement
from shared.rendering.check import LengthPolicy
from training_job.evaluation.judges import Panel, read_judges
from training_job.job import checkpoints
from training_job.job.curve import Curve
from training_job.job.diagnosis import memory
from training_job.job.files import model_folder, read_json, sha256_of, write_json
from training_job.job.limits import Limit
from training_job.job.processes import join, leads
from training_job.job.runtime import (
    CALIBRATION_FILE,
    RunningMetrics,
    read_recipe,
    require,
    run_job,
    try_machine,
    work_offline,
)

if TYPE_CHECKING:
    from transformers import TrainerState

    from shared.rendering import Bundle
    from training_job.methods import Data, Method
    from training_job.methods.trainer import Setup

ADAPTER_FILE = "adapter_model.safetensors"
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "tokenizers", "datasets")


@dataclass(frozen=True)
class Task:
    """The command line."""

    job_name: str
    data: Path
    base_model: Path
    recipe: Path
    output: Path
    continue_from: Path | None = None
    judges: Path | None = None


def parse(argv: list[str] | None) -> Task:
    parser = argparse.ArgumentParser(prog="training_job.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--job-name", required=True, help="named in the result and in checkpoints")
    parser.add_argument("--data", type=Path, required=True, help="curated version: train, eval, manifest")
    parser.add_argument("--base-model", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--recipe", type=Path, required=True, help="resolved recipe, JSON")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--continue-from", type=Path, help="adapter to start from; the recipe names its run")
    parser.add_argument("--judges", type=Path, help="where the judges of score_model graders are, JSON")
    return Task(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    task = parse(argv)
    work_offline()
    return run_job(task.job_name, task.output, lambda metrics: train(task, metrics))


def train(task: Task, metrics: RunningMetrics) -> None:
    """Train, merge and write the model folder; see the module's text for the files.

    Raises PermanentFailure with the class of what is wrong.
    """
    join()
    files = [task.data / name for name in ("train.jsonl", "eval.jsonl", "manifest.json")]
    require(*files, task.base_model, task.recipe, *([task.continue_from] if task.continue_from else []))
    task = replace(task, base_model=model_folder(task.base_model))
    recipe = read_recipe(task.recipe)
    require_start(recipe, task.continue_from)
    data_manifest = orjson.loads(files[2].read_bytes())
    print(f"{task.job_name}: recipe {recipe.model_dump_json()}", flush=True)

    try_machine(recipe)

    from training_job.data.chat_rows import bundle_of
    from training_job.methods import method_of
    from training_job.methods.trainer import Setup
    from training_job.model import artifacts as artifacts
    from training_job.model import quantized as quantized

    tokenizer = quantized.load_tokenizer(task.base_model)
    limit = length_limit(recipe.hyperparameters, quantized.context_tokens(task.base_model))
    bundle, policy = bundle_of(tokenizer), LengthPolicy(limit, recipe.requested.data.over_length)
    require_same_reading(data_manifest, bundle)
    method = method_of(recipe)
    data = method.read(*files[:2], bundle, policy, recipe)
    print(f"{task.job_name}: {data.dropped_rows} rows left out, {data.truncated_rows} cut", flush=True)
    metrics.dropped_rows, metrics.truncated_rows = data.dropped_rows, data.truncated_rows
    metrics.total_steps = total_steps(recipe.hyperparameters, data.train_rows)
    micro_batch_size = recipe.hyperparameters.micro_batch_size
    setup = Setup(
        task.base_model,
        task.output,
        recipe,
        tokenizer,
        metrics.total_steps,
        micro_batch_size,
        task.continue_from,
        panel_of(recipe, task.judges),
    )

    identity = checkpoints.Identity(task.job_name, sha256_of(*files[:2]), recipe_sha256(recipe))
    curve = Curve(task.output)
    try:
        fit(setup, method, data, metrics, curve, identity)
    finally:
        curve.close()
    if not leads():
        return
    artifacts.merge(setup)
    checked = artifacts.check_merge(setup, data.probe)
    metrics.merged_agreement = checked.agreement if checked else None
    manifest = model_manifest(task, recipe, data_manifest, identity, bundle, metrics)
    manifest |= artifacts.checks(task.output / "model" / "adapter", checked)
    write_json(task.output / "model" / "manifest.json", manifest)


def panel_of(recipe: ResolvedRecipe, judges: Path | None) -> Panel:
    """The judges of rewards and of their calibration; sampled answers hardly repeat, so no reply is kept."""
    method = recipe.requested.method
    asked = (*method.graders, *recipe.requested.evaluation.graders) if isinstance(method, Reinforcement) else ()
    return read_judges(judges, asked, None)


def require_start(recipe: ResolvedRecipe, adapter: Path | None) -> None:
    """A run that is to continue from another's adapter must have it, and no other run may."""
    if (recipe.continued_from is None) != (adapter is None):
        message = f"the recipe continues from {recipe.continued_from or 'the base'}, the adapter given is {adapter}"
        raise PermanentFailure(FailureClass.CODE, "wrong_start", message, "method.continue_from")


def require_same_reading(data_manifest: dict[str, Any], bundle: Bundle) -> None:
    """Refuse a base model that reads rows otherwise than the one they were validated for."""
    validated_for = data_manifest.get("tokenizer_sha256")
    if validated_for not in (None, bundle.sha256):
        raise PermanentFailure(
            FailureClass.RECIPE,
            "tokenizer_differs",
            f"the data was validated with tokenizer and template {validated_for[:12]}, "
            f"the base model has {bundle.sha256[:12]}",
            "base_model",
        )


def length_limit(hyperparameters: ResolvedHyperparameters, context: int | None) -> int:
    """Longest row in tokens, which must fit the model."""
    limit = hyperparameters.max_length_tokens
    if context is not None and limit > context:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "max_length_beyond_context",
            f"max_length_tokens is {limit}, the model reads {context}",
            "method.hyperparameters.max_length_tokens",
        )
    return limit


def total_steps(hyperparameters: ResolvedHyperparameters, rows: int) -> int:
    """Optimizer steps; never more than the recipe promised, fewer when rows were dropped."""
    epoch = math.ceil(rows / hyperparameters.batch_size)
    if isinstance(hyperparameters, ResolvedReinforcement):  # batches of prompts are whole
        epoch = rows // hyperparameters.batch_size
    if not epoch:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_beyond_data",
            f"a batch of {hyperparameters.batch_size} prompts cannot be made of {rows}",
            "method.hyperparameters.batch_size",
        )
    if rows_per_step(hyperparameters) % hyperparameters.micro_batch_size:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_not_divisible",
            "batch_size must be a multiple of micro_batch_size",
            "method.hyperparameters.batch_size",
        )
    return min(epoch * hyperparameters.n_epochs, hyperparameters.total_steps)


def recipe_sha256(recipe: ResolvedRecipe) -> str:
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()


def fit(
    setup: Setup, method: Method, data: Data, metrics: RunningMetrics, curve: Curve, identity: checkpoints.Identity
) -> None:
    """Train the adapter and save it under OUTPUT/model/adapter.

    Where memory runs out, training goes on from the last checkpoint with half the micro batch and the same batch;
    a job that is started again begins with what the checkpoint was written with.
    Of several processes one alone may run out, so there the job ends with class capacity instead.
    """
    import torch

    from training_job.model.artifacts import free_memory

    planned = setup.micro_batch_size
    while True:
        resume = checkpoints.newest_complete(setup.output / "checkpoints", identity, tidy=leads())
        if resume:
            smallest = min(setup.micro_batch_size, checkpoints.micro_batch_size_of(resume))
            setup = replace(setup, micro_batch_size=smallest)
        metrics.micro_batch_size = setup.micro_batch_size
        try:
            run_once(setup, method, data, metrics, curve, identity, resume)
            break
        except torch.OutOfMemoryError:
            if setup.micro_batch_size == 1 or torch.distributed.is_initialized():
                raise
        smaller = halved(rows_per_step(setup.hyperparameters), setup.micro_batch_size)
        print(f"out of memory: micro batches of {smaller} rows instead of {setup.micro_batch_size}", flush=True)
        setup = replace(setup, micro_batch_size=smaller)
        free_memory()
    if setup.micro_batch_size < planned:
        said = (
            f"Memory ran out: micro batches are of {setup.micro_batch_size} rows instead of {planned}; "
            f"the batch is {rows_per_step(setup.hyperparameters)} as planned."
        )
        metrics.diagnosis = (*metrics.diagnosis, said)


def halved(batch: int, micro_batch: int) -> int:
    """The largest part of the batch that is at most half the micro batch."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch % size == 0)


def run_once(
    setup: Setup,
    method: Method,
    data: Data,
    metrics: RunningMetrics,
    curve: Curve,
    identity: checkpoints.Identity,
    resume: Path | None,
) -> None:
    """Train from the checkpoint `resume`, or the start, to the end, with the micro batch of `setup`."""
    from training_job.methods.watch import Watch, measured_peak_bytes, start_measuring

    curve.rewind(checkpoints.step_of(resume) if resume else 0)
    start_measuring()
    trainer = method.build(setup, data)
    trainer.add_callback(Watch(curve, metrics, identity, method.MEASURES, Limit.of(setup.recipe)))
    if resume:
        print(f"resuming from step {checkpoints.step_of(resume)}", flush=True)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    metrics.measured_peak_bytes = measured_peak_bytes()
    metrics.predicted_peak_bytes = predicted_peak_bytes(setup)
    close_metrics(metrics, curve, trainer.state, method)
    if leads():
        folder = setup.output / "model" / "adapter"
        shutil.rmtree(setup.output / "model", ignore_errors=True)
        trainer.model.save_pretrained(folder, selected_adapters=["default"])  # not the frozen copy it was compared with
        setup.tokenizer.save_pretrained(folder)


def predicted_peak_bytes(setup: Setup) -> int:
    """What the memory plan says of tensors alone, which is what torch measures."""
    chosen = setup.hyperparameters.model_copy(update={"micro_batch_size": setup.micro_batch_size})
    plan = memory_plan(
        find_entry(setup.recipe.requested.base_model),
        chosen,
        gpus=max(1, find_sku(setup.recipe.training_instance_type).gpus),
        continued=setup.continue_from is not None,
    )
    return plan.total_bytes - plan.runtime_bytes


def close_metrics(metrics: RunningMetrics, curve: Curve, state: TrainerState, method: Method) -> None:
    """What the whole run came to; one resumed at its very end trains no step, but the curve knows what it measured."""
    metrics.last_step = state.global_step
    metrics.best_step = state.best_global_step
    if state.global_step < metrics.total_steps and metrics.stopped is None:
        metrics.stopped = "early"
    points = curve.points()
    judged = {point["step"]: point["eval_loss"] for point in points if point.get("eval_loss") is not None}
    if points:
        losses = curve.values("loss")
        metrics.first_train_loss, metrics.train_loss = losses[0], losses[-1]
        metrics.eval_loss = judged.get(metrics.best_step, curve.values("eval_loss")[-1])
        metrics.processed_tokens = max(metrics.processed_tokens, int(curve.values("tokens")[-1]))
        said = method.diagnose(points, metrics.stopped, metrics.best_step)
        metrics.diagnosis = (*said, *memory(metrics.predicted_peak_bytes, metrics.measured_peak_bytes))


def model_manifest(
    task: Task,
    recipe: ResolvedRecipe,
    data_manifest: dict[str, Any],
    identity: checkpoints.Identity,
    bundle: Bundle,
    metrics: RunningMetrics,
) -> dict[str, Any]:
    """Lineage of a model; written last, so its presence says that the folder is whole."""
    return {
        "job": task.job_name,
        "base_model": recipe.requested.base_model,
        "license": find_entry(recipe.requested.base_model).license,
        "continued_from": lineage(recipe, task.continue_from),
        "data_version": data_manifest["version"],
        "files_sha256": identity.data_sha256,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_sha256": identity.recipe_sha256,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "template_sha256": bundle.template_sha256,
        "tokenizer_bundle_sha256": bundle.sha256,
        "metrics": metrics.model_dump(mode="json", exclude={"seconds"}),  # the job has not ended yet
        "calibration": read_json(task.output / CALIBRATION_FILE),
    }


def lineage(recipe: ResolvedRecipe, adapter: Path | None) -> dict[str, str] | None:
    """Which run's adapter training started from, and which file that was."""
    if recipe.continued_from is None or adapter is None:
        return None
    return {"run": recipe.continued_from, "adapter_sha256": sha256_of(adapter / ADAPTER_FILE)}


if __name__ == "__main__":
    sys.exit(main())
