"""Tune a base model on a curated dataset with QLoRA.

    python -m training_job.train --job-name NAME --data DIR --base-model DIR --recipe FILE --output DIR
        [--continue-from DIR] [--judges FILE]

DATA holds train.jsonl and manifest.json, and eval.jsonl, which is not read; BASE-MODEL is a Hugging Face folder; RECIPE
a resolved recipe. Writes OUTPUT/model/{adapter,merged,manifest.json}, metrics.jsonl, checkpoints/ and, always,
result.json. The same command continues where a killed one stood. Exit codes: training_job/job/runtime.py.
"""

import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson

from shared.domain.errors import RETRY_RULES, FailureClass, PermanentFailure
from shared.domain.paths import run_id_of_job
from shared.domain.recipe import Reinforcement, ResolvedRecipe
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy
from training_job.evaluation.judges import Panel, read_judges
from training_job.job import checkpoints, runtime
from training_job.job.curve import Curve
from training_job.job.files import model_folder, sha256_of, write_json
from training_job.job.processes import importing, init_process_group, is_main_process
from training_job.job.setup import Setup, length_limit, total_steps
from training_job.model.base_folder import content_sha256
from training_job.selftest import check_machine

if TYPE_CHECKING:
    from training_job.data.selection import EncodedData
    from training_job.methods import TuningMethod


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """The command line."""

    job_name: Annotated[str, "named in the result and in checkpoints"]
    data: Annotated[Path, "curated version: train, manifest"]
    base_model: Annotated[Path, "Hugging Face folder"]
    recipe: Annotated[Path, "resolved recipe, JSON"]
    output: Annotated[Path, "folder of the run"]
    continue_from: Annotated[Path | None, "adapter to start from; the recipe names its run"] = None
    judges: Annotated[Path | None, "where the judges of score_model graders are, JSON"] = None

    @property
    def rows(self) -> Path:
        return self.data / "train.jsonl"


def main(argv: list[str] | None = None) -> int:
    task = runtime.parse_arguments(TrainArguments, "training_job.train", __doc__, argv)
    runtime.work_offline()
    return runtime.run_job(task.job_name, task.output, lambda metrics: train(task, metrics))


def train(task: TrainArguments, metrics: runtime.RunningMetrics) -> None:
    """Train, merge and write the model folder; see the module's text for the files.

    Raises PermanentFailure with the class of what is wrong.
    """
    init_process_group()
    adapter = [task.continue_from] if task.continue_from else []
    runtime.require(task.rows, task.data / "manifest.json", task.base_model, task.recipe, *adapter)
    task = replace(task, base_model=model_folder(task.base_model))
    recipe = runtime.read_recipe(task.recipe)
    require_start(recipe, task.continue_from)
    print(f"{task.job_name}: {recipe.hyperparameters.model_dump_json()}", flush=True)  # no more of it: it holds secrets
    check_machine(recipe)
    metrics.continue_time(task.output)
    prepared = prepare(task, recipe, metrics)

    with importing():
        from training_job.methods.fit import Fit

    curve = Curve(task.output)
    fit = Fit(prepared.setup, prepared.method, prepared.data, metrics, curve, prepared.identity)
    try:
        fit.run()
        if is_main_process():
            write_model(task, prepared, metrics, fit.probe_loss)
    except Exception as error:
        failure = runtime.classify(error)
        if RETRY_RULES[failure.failure_class].attempts == 1:  # the run's own state may be the cause
            checkpoints.withdraw(task.output / "checkpoints")
        raise failure from error
    finally:
        metrics.keep_time()
        curve.close()


@dataclass(frozen=True)
class Prepared:
    """What training needs, read and checked."""

    setup: Setup
    method: "TuningMethod"
    data: "EncodedData"
    bundle: Bundle
    data_manifest: dict[str, Any]
    identity: checkpoints.Identity


def prepare(task: TrainArguments, recipe: ResolvedRecipe, metrics: runtime.RunningMetrics) -> Prepared:
    """Read tokenizer and rows; count rows and steps in `metrics`."""
    with importing():
        from training_job.data.chat_rows import bundle_of
        from training_job.data.selection import EncodedData
        from training_job.methods import method_of
        from training_job.model import quantized

        method = method_of(recipe)
    tokenizer = quantized.load_tokenizer(task.base_model, recipe.entry.template_arguments)
    limit = length_limit(recipe.hyperparameters, quantized.context_tokens(task.base_model))
    bundle, policy = bundle_of(tokenizer), LengthPolicy(limit, recipe.requested.data.over_length)
    data_manifest = orjson.loads((task.data / "manifest.json").read_bytes())
    require_same_reading(data_manifest, bundle)
    file = method.read(task.rows, bundle, policy)
    data = EncodedData.of(file, task.rows, recipe)
    metrics.dropped_rows, metrics.truncated_rows = len(file.dropped), len(file.truncated)
    metrics.selection_rows = len(data.selection)
    counts = f"{len(file.dropped)} rows left out, {len(file.truncated)} cut, {len(data.selection)} of selection"
    print(f"{task.job_name}: {counts}", flush=True)
    metrics.total_steps = total_steps(recipe.hyperparameters, len(data.train))
    setup = Setup(
        task.base_model,
        task.output,
        recipe,
        tokenizer,
        metrics.total_steps,
        recipe.hyperparameters.micro_batch_size,
        task.continue_from,
        panel_of(recipe, task.judges),
        selects=bool(data.selection),
    )
    run = run_id_of_job(task.job_name) or task.job_name
    identity = checkpoints.Identity(run, sha256_of(task.rows), recipe_sha256(recipe), content_sha256(task.base_model))
    return Prepared(setup, method, data, bundle, data_manifest, identity)


def write_model(
    task: TrainArguments, prepared: Prepared, metrics: runtime.RunningMetrics, trained_loss: float | None
) -> None:
    """Merge, check the merged model, and write the manifest last: its presence says that the folder is whole."""
    from training_job.model import artifacts
    from training_job.model.artifacts import model_manifest, write_card

    artifacts.merge(prepared.setup)
    check = artifacts.check_merge(prepared.setup, prepared.data.probe, trained_loss)
    metrics.merged_agreement = check.agreement if check else None
    manifest = model_manifest(prepared.setup, prepared.identity, prepared.bundle, prepared.data_manifest, metrics)
    write_card(prepared.setup, manifest["data_version"])
    manifest |= {"job": task.job_name, "merge": asdict(check) if check else None}
    write_json(task.output / "model" / "manifest.json", manifest)


def panel_of(recipe: ResolvedRecipe, judges: Path | None) -> Panel:
    """The judges of rewards and of their calibration; sampled answers hardly repeat, so no reply is kept."""
    method = recipe.requested.method
    graders = (*method.graders, *recipe.requested.evaluation.graders) if isinstance(method, Reinforcement) else ()
    return read_judges(judges, graders, None)


def require_start(recipe: ResolvedRecipe, adapter: Path | None) -> None:
    """A run that is to continue from another's adapter must have it, and no other run may."""
    if (recipe.continued_from is None) != (adapter is None):
        message = f"the recipe continues from {recipe.continued_from or 'the base'}, the adapter given is {adapter}"
        raise PermanentFailure(FailureClass.CODE, "wrong_start", message, "method.continue_from")


def require_same_reading(data_manifest: dict[str, Any], bundle: Bundle) -> None:
    """Refuse a base model that reads rows otherwise than the one they were validated for."""
    validated_for = data_manifest.get("tokenizer_sha256")
    if validated_for not in (None, bundle.sha256):
        ours, theirs = bundle.sha256[:12], validated_for[:12]
        message = f"the data was validated with tokenizer and template {theirs}, the base model has {ours}"
        raise PermanentFailure(FailureClass.RECIPE, "tokenizer_differs", message, "base_model")


def recipe_sha256(recipe: ResolvedRecipe) -> str:
    """Hash of what training depends on; a field that a later version adds, with its default, changes nothing."""
    parts: Any = {"requested": {"method", "data"}, "hyperparameters": True, "continued_from": True}
    return hashlib.sha256(recipe.model_dump_json(include=parts, exclude_defaults=True).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
