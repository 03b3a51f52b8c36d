"""Tune a base model on a curated dataset with QLoRA.

eval.jsonl is not read. Writes OUTPUT/model/{adapter,merged,manifest.json}, metrics.jsonl, checkpoints/ and, always,
result.json. The same command continues where a killed one stood. Exit codes: training_job/job/runtime.py.

From here to a step: `TrainingRun.attempt` builds the trainer of the method (`methods/supervised.py`, `preference.py`,
`reinforcement.py`), whose step is in `methods/step.py`. Free of torch until it trains.
"""

import hashlib
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import orjson

from shared.domain.errors import RETRY_RULES, FailureClass, PermanentFailure
from shared.domain.paths import run_id_of_job
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import Reinforcement, ResolvedRecipe
from shared.domain.results import TimeLimit
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy
from training_job.data.canaries import canaries
from training_job.data.chat_rows import bundle_of, encode_rows
from training_job.data.selection import EncodedData
from training_job.evaluation.judges import Panel, read_judges
from training_job.job import checkpoints, runtime
from training_job.job.curve import Curve
from training_job.job.files import ADAPTER_FILE, model_folder, sha256_of, write_json
from training_job.job.processes import importing, init_process_group, is_distributed, is_main_process
from training_job.job.setup import FINISH_SHARE, Setup, length_limit, total_steps
from training_job.model.base_folder import content_sha256
from training_job.selftest import check_machine

METHODS = {"supervised": "supervised", "dpo": "preference", "reinforcement": "reinforcement"}
MOST_DAMAGED = 3  # checkpoints of one attempt; where more are damaged, so is what they are written to


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
    """Train, merge and write the model folder: see the module. Raises PermanentFailure by class of what is wrong."""
    init_process_group()
    adapter = [task.continue_from] if task.continue_from else []
    runtime.require(task.rows, task.data / "manifest.json", task.base_model, task.recipe, *adapter)
    task = replace(task, base_model=model_folder(task.base_model))
    recipe = runtime.read_recipe(task.recipe)
    require_start(recipe, task.continue_from)
    print(f"{task.job_name}: {recipe.hyperparameters.model_dump_json()}", flush=True)  # no more of it: it holds secrets
    check_machine(recipe)
    metrics.continue_time(task.output)
    run = prepare(task, recipe, metrics)
    try:
        run.fit()
        if is_main_process():
            run.write_model()
    except Exception as error:
        failure = runtime.classify(error)
        if RETRY_RULES[failure.failure_class].attempts == 1:  # the run's own state may be the cause
            checkpoints.withdraw(task.output / "checkpoints")
        raise failure from error
    finally:
        metrics.keep_time()
        run.curve.close()


def prepare(task: TrainArguments, recipe: ResolvedRecipe, metrics: runtime.RunningMetrics) -> "TrainingRun":
    """Read tokenizer and rows; count rows and steps in `metrics`."""
    with importing():
        from training_job.model import quantized

        method = method_of(recipe)
    tokenizer = quantized.load_tokenizer(task.base_model, recipe.entry.template_arguments)
    limit = length_limit(recipe.hyperparameters, quantized.context_tokens(task.base_model))
    bundle, policy = bundle_of(tokenizer), LengthPolicy(limit, recipe.requested.data.over_length)
    data_manifest = orjson.loads((task.data / "manifest.json").read_bytes())
    require_same_reading(data_manifest, bundle)
    file = method.read(task.rows, bundle, policy)
    data = EncodedData.of(file, task.rows, recipe)
    if planted := [canary.row for canary in canaries(recipe)]:  # after the rows of selection are drawn
        more = encode_rows(planted, Path("canaries"), bundle, policy).rows
        data, metrics.canaries = replace(data, train=[*data.train, *more]), len(planted)
    metrics.dropped_rows, metrics.truncated_rows = len(file.dropped), len(file.truncated)
    metrics.selection_rows = len(data.selection)
    counts = f"{len(file.dropped)} rows left out, {len(file.truncated)} cut, {len(data.selection)} of selection"
    counts += f", {len(planted)} canaries planted"
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
    return TrainingRun(task, setup, method, data, bundle, data_manifest, identity, metrics, Curve(task.output))


def method_of(recipe: ResolvedRecipe) -> ModuleType:
    """`read` (rows in), `build` (a trainer whose step learns from them), `MEASURES` (what of its log goes into the
    curve beside the loss, and as what) and `diagnose` (what the curve says) of the recipe's method; imports torch."""
    return import_module(f"training_job.methods.{METHODS[recipe.requested.method.type]}")


@dataclass
class TrainingRun:
    """One run of training, read and checked."""

    task: TrainArguments
    setup: Setup
    method: ModuleType
    data: EncodedData
    bundle: Bundle
    data_manifest: dict[str, Any]
    identity: checkpoints.Identity
    metrics: runtime.RunningMetrics
    curve: Curve
    trained_loss: float | None = None  # on the rows probed, of the model that was saved, as training had it in memory

    def fit(self) -> None:
        """Train the adapter to the end, and save it under OUTPUT/model/adapter. Where memory runs out, training resumes
        from the last checkpoint with half the micro batch; a checkpoint that cannot be loaded is set aside, for the one
        before. Of several processes one alone may fail so: there the job ends, with class capacity or platform."""
        import torch

        from training_job.model.artifacts import free_memory

        planned, batch, damaged = self.setup.micro_batch_size, rows_per_step(self.setup.hyperparameters), 0
        rows = planned
        while True:
            if resume := self._newest():
                rows = min(rows, checkpoints.mark_of(resume)["micro_batch_size"])
            self.setup, self.metrics.micro_batch_size = replace(self.setup, micro_batch_size=rows), rows
            try:
                self.attempt(resume)
                break
            except torch.OutOfMemoryError:
                if rows == 1 or is_distributed():
                    raise
                rows = halved(batch, rows)
                had = self.setup.micro_batch_size
                print(f"out of memory: micro batches of {rows} rows instead of {had}", flush=True)
            except checkpoints.UnreadableCheckpoint as error:
                if is_main_process():
                    checkpoints.set_aside(error.args[0])
                damaged += 1
                if is_distributed() or damaged > MOST_DAMAGED:
                    message = f"{error}; another attempt goes on from the one before it"
                    raise PermanentFailure(FailureClass.PLATFORM, "checkpoint_unreadable", message) from error
            free_memory()
        if not self.setup.selects:
            message = "Too few rows are independent to leave some out of training: the last checkpoint is the model."
            self.metrics.diagnosis = (*self.metrics.diagnosis, message)
        if rows < planned:
            message = f"Memory ran out: micro batches are of {rows} rows instead of {planned}; the batch is"
            self.metrics.diagnosis = (*self.metrics.diagnosis, f"{message} {batch} as planned.")

    def attempt(self, resume: Path | None) -> None:
        """Train from the checkpoint `resume`, or the start, to the end, with the micro batch of `setup`."""
        import torch

        from training_job.methods import watch

        self.curve.rewind(checkpoints.step_of(resume) if resume else 0)
        watch.start_measuring()
        trainer = self.method.build(self.setup, self.data)
        losses = watch.Losses(trainer, self.setup, self.data.probe)
        limit, measures = TimeLimit.of(self.setup.recipe, 1 - FINISH_SHARE), self.method.MEASURES
        measure, check = losses.of_probe, (lambda: losses.require_same_start(resume))
        callback = watch.Watch(self.curve, self.metrics, self.identity, measures, limit, measure, check)
        trainer.add_callback(callback)
        if resume:
            print(f"resuming from step {checkpoints.step_of(resume)}", flush=True)
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except (PermanentFailure, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if resume and not callback.began and runtime.classify(error).failure_class is FailureClass.CODE:
                raise checkpoints.UnreadableCheckpoint(resume) from error
            best = trainer.state.best_model_checkpoint
            if best and checkpoints.mark_of(Path(best)):  # not the one whose saving failed, on a full disk say
                self._require_whole(best)
            raise
        self.metrics.measured_peak_bytes = watch.measured_peak_bytes()
        self.metrics.predicted_peak_bytes = watch.predicted_peak_bytes(self.setup)
        self.trained_loss, fixed_loss = losses.of_probe(), losses.of_fixed_text()
        watch.close_metrics(self.metrics, self.curve, trainer.state, self.method, callback.lost_best)
        if is_main_process():
            self._save(trainer, fixed_loss)

    def _newest(self) -> Path | None:
        """The checkpoint to go on from; of several processes the first decides, for it alone moves files."""
        folder = self.setup.output / "checkpoints"
        found = [checkpoints.newest_complete(folder, self.identity) if is_main_process() else None]
        if is_distributed():
            import torch

            torch.distributed.broadcast_object_list(found)
        return found[0]

    def _require_whole(self, checkpoint: str) -> Path:
        """Raises UnreadableCheckpoint if it was damaged since it was written."""
        if not checkpoints.is_whole(Path(checkpoint), self.identity):
            raise checkpoints.UnreadableCheckpoint(Path(checkpoint))
        return Path(checkpoint)

    def _save(self, trainer: Any, fixed_loss: float) -> None:
        """Save the adapter. Raises PermanentFailure `saved_differs` unless its bytes are the best checkpoint's."""
        folder = self.setup.output / "model" / "adapter"
        shutil.rmtree(folder.parent, ignore_errors=True)
        # "default": not the frozen copy that it was compared with
        trainer.model.save_pretrained(str(folder), selected_adapters=["default"])
        best = self._require_whole(named) if (named := trainer.state.best_model_checkpoint) else None
        if best and sha256_of(folder / ADAPTER_FILE) != sha256_of(best / ADAPTER_FILE):
            message = f"the saved adapter is not that of {best.name}, which was measured"
            raise PermanentFailure(FailureClass.CODE, "saved_differs", message)
        self.setup.tokenizer.save_pretrained(folder)
        write_json(folder / checkpoints.MARK, {"fixed_loss": fixed_loss, "sha256": checkpoints.hashes(folder)})

    def write_model(self) -> None:
        """Merge, check the merged model, and write the manifest last: its presence says that the folder is whole."""
        from training_job.model import artifacts

        artifacts.merge(self.setup)
        check = artifacts.check_merge(self.setup, self.data.probe, self.trained_loss)
        self.metrics.merged_agreement = check.agreement if check else None
        manifest = artifacts.model_manifest(self.setup, self.identity, self.bundle, self.data_manifest, self.metrics)
        artifacts.write_card(self.setup, manifest["data_version"])
        manifest |= {"job": self.task.job_name, "merge": asdict(check) if check else None}
        write_json(self.task.output / "model" / "manifest.json", manifest)


def halved(batch: int, micro_batch: int) -> int:
    """The largest part of the batch that is at most half the micro batch."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch % size == 0)


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
