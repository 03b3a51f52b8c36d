"""One run of training: resumed where it was killed, continued with smaller micro batches where memory runs out.

Import only where torch may be loaded.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import TrainerState

from shared.domain.catalog import find_entry, find_sku
from shared.domain.planning.memory import memory_plan
from shared.domain.planning.methods import rows_per_step
from training_job.job import checkpoints
from training_job.job.curve import Curve
from training_job.job.diagnosis import memory
from training_job.job.limits import TimeLimit
from training_job.job.processes import is_main_process
from training_job.job.runtime import RunningMetrics
from training_job.job.setup import Setup
from training_job.methods import EncodedData, TuningMethod
from training_job.methods.trainer import model_of
from training_job.methods.watch import Watch, measured_peak_bytes, start_measuring
from training_job.model.artifacts import free_memory


@dataclass
class Fit:
    """Trains the adapter and saves it under OUTPUT/model/adapter."""

    setup: Setup
    method: TuningMethod
    data: EncodedData
    metrics: RunningMetrics
    curve: Curve
    identity: checkpoints.Identity

    def run(self) -> None:
        """Train to the end.

        Where memory runs out, training resumes from the last checkpoint with half the micro batch and the same batch;
        a job that is started again begins with what the checkpoint was written with.
        Of several processes one alone may run out, so there the job ends with class capacity instead.
        """
        planned = self.setup.micro_batch_size
        while True:
            resume = checkpoints.newest_complete(
                self.setup.output / "checkpoints", self.identity, delete_others=is_main_process()
            )
            if resume:
                self._use(min(self.setup.micro_batch_size, checkpoints.micro_batch_size_of(resume)))
            self.metrics.micro_batch_size = self.setup.micro_batch_size
            try:
                self._train(resume)
                break
            except torch.OutOfMemoryError:
                if self.setup.micro_batch_size == 1 or torch.distributed.is_initialized():
                    raise
            smaller = halved(rows_per_step(self.setup.hyperparameters), self.setup.micro_batch_size)
            print(
                f"out of memory: micro batches of {smaller} rows instead of {self.setup.micro_batch_size}", flush=True
            )
            self._use(smaller)
            free_memory()
        self._report_smaller(planned)

    def _use(self, micro_batch_size: int) -> None:
        self.setup = replace(self.setup, micro_batch_size=micro_batch_size)

    def _report_smaller(self, planned: int) -> None:
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
        limit = TimeLimit.of(self.setup.recipe)
        trainer.add_callback(Watch(self.curve, self.metrics, self.identity, self.method.MEASURES, limit))
        if resume:
            print(f"resuming from step {checkpoints.step_of(resume)}", flush=True)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        self.metrics.measured_peak_bytes = measured_peak_bytes()
        self.metrics.predicted_peak_bytes = predicted_peak_bytes(self.setup)
        close_metrics(self.metrics, self.curve, trainer.state, self.method)
        if is_main_process():
            folder = self.setup.output / "model" / "adapter"
            shutil.rmtree(self.setup.output / "model", ignore_errors=True)
            # "default": not the frozen copy that it was compared with
            model_of(trainer).save_pretrained(str(folder), selected_adapters=["default"])
            self.setup.tokenizer.save_pretrained(folder)


def halved(batch: int, micro_batch: int) -> int:
    """The largest part of the batch that is at most half the micro batch."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch % size == 0)


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


def close_metrics(metrics: RunningMetrics, curve: Curve, state: TrainerState, method: TuningMethod) -> None:
    """Fill in the figures of the whole run. One resumed at its very end trains no step, so they come from the curve."""
    metrics.last_step = state.global_step
    metrics.best_step = state.best_global_step
    if state.global_step < metrics.total_steps and metrics.stopped is None:
        metrics.stopped = "early"
    points = curve.points()
    if not points:
        return
    losses = curve.values("loss")
    metrics.first_train_loss, metrics.train_loss = losses[0], losses[-1]
    eval_losses = {point["step"]: point["eval_loss"] for point in points if point.get("eval_loss") is not None}
    metrics.eval_loss = eval_losses.get(metrics.best_step, curve.values("eval_loss")[-1])
    metrics.processed_tokens = max(metrics.processed_tokens, int(curve.values("tokens")[-1]))
    sentences = method.diagnose(points, metrics.stopped, metrics.best_step)
    metrics.diagnosis = (*sentences, *memory(metrics.predicted_peak_bytes, metrics.measured_peak_bytes))
