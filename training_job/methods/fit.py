"""One run of training: resumed where it was killed, continued with smaller micro batches where memory runs out.

Import only where torch may be loaded.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import Trainer, TrainerState

from shared.domain.catalog import find_sku
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.memory import memory_plan
from shared.domain.planning.methods import rows_per_step
from shared.domain.results import TimeLimit
from training_job.data.chat_rows import Encoded
from training_job.data.selection import EncodedData
from training_job.job import checkpoints
from training_job.job.curve import Curve
from training_job.job.diagnosis import memory
from training_job.job.files import ADAPTER_FILE, sha256_of, write_json
from training_job.job.processes import is_main_process
from training_job.job.runtime import RunningMetrics, classify
from training_job.job.setup import FINISH_SHARE, Setup
from training_job.methods import TuningMethod
from training_job.methods.trainer import model_of, probe_loss
from training_job.methods.watch import Watch, measured_peak_bytes, start_measuring
from training_job.model.artifacts import free_memory, require_same_loss

# Of one attempt. Where more are damaged, so is what they are written to.
MOST_DAMAGED = 3
FIXED_TEXT = "What is the capital of France? The capital of France is Paris. 0 1 2 3 4 5 6 7 8 9"


@dataclass
class Fit:
    """Trains the adapter and saves it under OUTPUT/model/adapter."""

    setup: Setup
    method: TuningMethod
    data: EncodedData
    metrics: RunningMetrics
    curve: Curve
    identity: checkpoints.Identity
    probe_loss: float | None = None  # of the model that was saved, as training had it in memory

    def run(self) -> None:
        """Train to the end.

        Where memory runs out, training resumes from the last checkpoint with half the micro batch and the same batch;
        a job that is started again begins with what the checkpoint was written with. A checkpoint that cannot be
        loaded is set aside, and the one before it is used.
        Of several processes one alone may fail so, so there the job ends, with class capacity or platform instead.
        """
        planned, damaged = self.setup.micro_batch_size, 0
        while True:
            resume = self._newest()
            if resume:
                self._use(min(self.setup.micro_batch_size, checkpoints.mark_of(resume)["micro_batch_size"]))
            self.metrics.micro_batch_size = self.setup.micro_batch_size
            try:
                self._train(resume)
                break
            except torch.OutOfMemoryError:
                if self.setup.micro_batch_size == 1 or torch.distributed.is_initialized():
                    raise
                smaller = halved(rows_per_step(self.setup.hyperparameters), self.setup.micro_batch_size)
                had = self.setup.micro_batch_size
                print(f"out of memory: micro batches of {smaller} rows instead of {had}", flush=True)
                self._use(smaller)
            except checkpoints.UnreadableCheckpoint as error:
                if is_main_process():
                    checkpoints.set_aside(error.args[0])
                damaged += 1
                if torch.distributed.is_initialized() or damaged > MOST_DAMAGED:
                    message = f"{error}; another attempt goes on from the one before it"
                    raise PermanentFailure(FailureClass.PLATFORM, "checkpoint_unreadable", message) from error
            free_memory()
        self._report_smaller(planned)

    def _newest(self) -> Path | None:
        """The checkpoint to go on from; of several processes the first decides, for it alone moves files."""
        folder = self.setup.output / "checkpoints"
        found = [checkpoints.newest_complete(folder, self.identity) if is_main_process() else None]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(found)
        return found[0]

    def _use(self, micro_batch_size: int) -> None:
        self.setup = replace(self.setup, micro_batch_size=micro_batch_size)

    def _report_smaller(self, planned: int) -> None:
        if not self.setup.selects:
            message = "Too few rows are independent to leave some out of training: the last checkpoint is the model."
            self.metrics.diagnosis = (*self.metrics.diagnosis, message)
        if self.setup.micro_batch_size < planned:
            message = (
                f"Memory ran out: micro batches are of {self.setup.micro_batch_size} rows instead of {planned}; "
                f"the batch is {rows_per_step(self.setup.hyperparameters)} as planned."
            )
            self.metrics.diagnosis = (*self.metrics.diagnosis, message)

    def _train(self, resume: Path | None) -> None:
        """Train from the checkpoint `resume`, or the start, to the end, with the micro batch of `setup`."""
        self.curve.rewind(checkpoints.step_of(resume) if resume else 0)
        start_measuring()
        trainer = self.method.build(self.setup, self.data)
        limit, measures = TimeLimit.of(self.setup.recipe, 1 - FINISH_SHARE), self.method.MEASURES
        measure, check = (lambda: self._loss(trainer)), (lambda: self._require_same_start(trainer, resume))
        watch = Watch(self.curve, self.metrics, self.identity, measures, limit, measure, check)
        trainer.add_callback(watch)
        if resume:
            print(f"resuming from step {checkpoints.step_of(resume)}", flush=True)
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except (PermanentFailure, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if resume and not watch.began and classify(error).failure_class is FailureClass.CODE:
                raise checkpoints.UnreadableCheckpoint(resume) from error
            best = trainer.state.best_model_checkpoint
            if best and checkpoints.mark_of(Path(best)):  # not the one whose saving failed, on a full disk say
                self._require_whole(trainer.state)
            raise
        self.metrics.measured_peak_bytes = measured_peak_bytes()
        self.metrics.predicted_peak_bytes = predicted_peak_bytes(self.setup)
        self.probe_loss = self._loss(trainer)
        fixed_loss = self._fixed_loss(trainer)
        close_metrics(self.metrics, self.curve, trainer.state, self.method, watch.lost_best)
        if is_main_process():
            self._save(trainer, fixed_loss)

    def _require_same_start(self, trainer: Trainer, resume: Path | None) -> None:
        if resume:
            recorded = checkpoints.mark_of(resume).get("probe_loss")
            require_same_loss(f"after resuming from {resume.name}", recorded, self._loss(trainer))
        elif adapter := self.setup.continue_from:
            recorded = checkpoints.mark_of(adapter).get("fixed_loss")
            require_same_loss("at the start", recorded, self._fixed_loss(trainer))

    def _loss(self, trainer: Trainer) -> float | None:
        return probe_loss(trainer, self.data.probe) if self.data.probe else None

    def _fixed_loss(self, trainer: Trainer) -> float:
        """Loss of a text that is the same in every run, by which a run that continues knows its adapter again."""
        ids = self.setup.tokenizer(FIXED_TEXT, add_special_tokens=False)["input_ids"]
        return probe_loss(trainer, [Encoded(0, ids, ids)])

    def _require_whole(self, state: TrainerState) -> Path | None:
        """The best checkpoint. Raises UnreadableCheckpoint if it was damaged since."""
        best = Path(state.best_model_checkpoint) if state.best_model_checkpoint else None
        if best and not checkpoints.is_whole(best, self.identity):
            raise checkpoints.UnreadableCheckpoint(best)
        return best

    def _save(self, trainer: Trainer, fixed_loss: float) -> None:
        """Save the adapter. Raises PermanentFailure `saved_differs` unless its bytes are the best checkpoint's."""
        folder = self.setup.output / "model" / "adapter"
        shutil.rmtree(folder.parent, ignore_errors=True)
        # "default": not the frozen copy that it was compared with
        model_of(trainer).save_pretrained(str(folder), selected_adapters=["default"])
        best = self._require_whole(trainer.state)
        if best and sha256_of(folder / ADAPTER_FILE) != sha256_of(best / ADAPTER_FILE):
            message = f"the saved adapter is not that of {best.name}, which was measured"
            raise PermanentFailure(FailureClass.CODE, "saved_differs", message)
        self.setup.tokenizer.save_pretrained(folder)
        write_json(folder / checkpoints.MARK, {"fixed_loss": fixed_loss, "sha256": checkpoints.hashes(folder)})


def halved(batch: int, micro_batch: int) -> int:
    """The largest part of the batch that is at most half the micro batch."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch % size == 0)


def predicted_peak_bytes(setup: Setup) -> int:
    """What the memory plan says of tensors alone, which is what torch measures."""
    chosen = setup.hyperparameters.model_copy(update={"micro_batch_size": setup.micro_batch_size})
    plan = memory_plan(
        setup.recipe.entry,
        chosen,
        gpus=max(1, find_sku(setup.recipe.training_instance_type).gpus),
        continued=setup.continue_from is not None,
    )
    return plan.total_bytes - plan.runtime_bytes


def close_metrics(
    metrics: RunningMetrics, curve: Curve, state: TrainerState, method: TuningMethod, lost_best: int | None = None
) -> None:
    """Fill in the figures of the whole run. One resumed at its very end trains no step, so they come from the curve.

    `lost_best`: the step of a best checkpoint that is no longer there.
    """
    metrics.last_step = state.global_step
    metrics.best_step = state.best_global_step
    if state.global_step < metrics.total_steps and metrics.stopped is None:
        metrics.stopped = "early"
    points = curve.points()
    # The state is part of the checkpoints, and so are its hashes; the curve is a file of its own, which may be lost.
    measured = [*points, *state.log_history]
    eval_losses = {point["step"]: point["eval_loss"] for point in measured if point.get("eval_loss") is not None}
    metrics.eval_loss = eval_losses.get(metrics.best_step, next(reversed(eval_losses.values()), None))
    names = {f"{kind}{name}" for kind in ("", "eval_") for name in method.MEASURES.values()}
    last = {name: value for point in points for name, value in point.items() if name in names and value is not None}
    metrics.measures = last | metrics.measures
    losses = curve.values("loss")
    if not losses:
        return
    metrics.first_train_loss, metrics.train_loss = losses[0], losses[-1]
    metrics.processed_tokens = max(metrics.processed_tokens, *map(int, curve.values("tokens")[-1:]), 0)
    sentences = method.diagnose(points, metrics.stopped, None if lost_best else metrics.best_step)
    if lost_best:
        lost = f"The best checkpoint, of step {lost_best}, was lost; the model is that of step {metrics.best_step}."
        sentences = (lost, *sentences)
    metrics.diagnosis = (*sentences, *memory(metrics.predicted_peak_bytes, metrics.measured_peak_bytes))
