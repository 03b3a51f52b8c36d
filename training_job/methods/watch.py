"""The trainer's callback: it keeps the curve, marks checkpoints, guards precision and stops lost runs."""

import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.domain.catalog import find_sku
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.memory import memory_plan
from shared.domain.results import TimeLimit
from training_job import patches
from training_job.data.chat_rows import Encoded
from training_job.job import checkpoints
from training_job.job.curve import Curve
from training_job.job.diagnosis import memory
from training_job.job.runtime import RunningMetrics
from training_job.job.setup import Setup
from training_job.methods.step import model_of
from training_job.model.artifacts import loss_of, require_same_loss

FIRST_STEPS = 10
FIXED_TEXT = "What is the capital of France? The capital of France is Paris. 0 1 2 3 4 5 6 7 8 9"


class Losses:
    """Of the model in training's memory on rows that stay the same, by which it is known again."""

    def __init__(self, trainer: Trainer, setup: Setup, probe: Sequence[Encoded]) -> None:
        self._trainer, self._setup, self._probe = trainer, setup, probe

    def of(self, rows: Sequence[Encoded]) -> float:
        """Per token, under the model as it stands; draws no random numbers."""
        if own := getattr(self._trainer, "loss_of", None):  # of a model without output layer
            return float(own(list(rows)))
        with self._trainer.compute_loss_context_manager():
            return loss_of(model_of(self._trainer), rows)

    def of_probe(self) -> float | None:
        return self.of(self._probe) if self._probe else None

    def of_fixed_text(self) -> float:
        """The same text in every run: a run that continues from an adapter has not the rows that it was trained on."""
        ids = self._setup.tokenizer(FIXED_TEXT, add_special_tokens=False)["input_ids"]
        return self.of([Encoded(0, ids, ids)])

    def require_same_start(self, resume: Path | None) -> None:
        """Raises PermanentFailure `loss_differs` where the checkpoint or adapter was left with another loss."""
        if resume:
            recorded = checkpoints.mark_of(resume).get("probe_loss")
            require_same_loss(f"after resuming from {resume.name}", recorded, self.of_probe())
        elif adapter := self._setup.continue_from:
            require_same_loss("at the start", checkpoints.mark_of(adapter).get("fixed_loss"), self.of_fixed_text())


class Watch(TrainerCallback):
    """Sees every step of one training run."""

    def __init__(
        self,
        curve: Curve,
        metrics: RunningMetrics,
        identity: checkpoints.Identity,
        measures: Mapping[str, str],
        limit: TimeLimit,
        measure: Callable[[], float | None] = lambda: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`measure`: the loss of the rows probed. `check` raises where the model that training begins with is wrong."""

        self._curve, self._metrics, self._identity, self._measures = curve, metrics, identity, measures
        self._limit, self._measure, self._check = limit, measure, check
        self.began = False
        self.lost_best: int | None = None
        self._session = self._window = (0, 0, time.monotonic())  # step, tokens and the moment when it began

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assert args.output_dir is not None
        self.began = True  # a checkpoint, if any, has been loaded by now
        measure = args.metric_for_best_model or "eval_loss"
        self.lost_best = patches.find_best(state, Path(args.output_dir), measure)
        patches.adapters_to_float32(kwargs["model"])
        patches.keep_training_kernel(kwargs["model"])
        self._check()  # now: accelerate has prepared the model, which else would compute without autocast
        self._session = self._window = (state.global_step, int(state.num_input_tokens_seen), time.monotonic())
        self._metrics.keep_time()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._metrics.last_step = state.global_step
        self._metrics.processed_tokens = int(state.num_input_tokens_seen)
        if state.global_step == state.max_steps:
            control.should_log = True  # the curve ends with the last step also where the interval does not divide it
        late = self._metrics.count_time() > self._limit.seconds
        if state.global_step < state.max_steps and any_rank(late, args.device):
            self._metrics.stopped = self._limit.kind
            control.should_log = control.should_save = control.should_training_stop = True
            control.should_evaluate = args.load_best_model_at_end

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, Any] = kwargs["logs"]
        if "eval_loss" in logs:
            self._metrics.eval_loss = logs["eval_loss"]
            measured = self._measured(logs, "eval_")
            self._curve.add({"step": state.global_step, "eval_loss": logs["eval_loss"], **measured})
        elif "loss" in logs:
            self._metrics.train_loss = logs["loss"]
            point = self._point(state, logs) | self._measured(logs)
            self._curve.add(point)
            self._metrics.keep_time()
            print("step {step}/{total_steps} loss {loss:.4f} eta {eta_s:.0f} s".format(**point), flush=True)
            # Before its first update a policy equals the one that is compared with: loss 0.
            if "reward" not in self._measures.values():
                refuse_lost_run(state.global_step, logs["loss"])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        assert args.output_dir is not None
        if torch.distributed.is_initialized():  # each process writes its generators' state into the checkpoint
            torch.distributed.barrier()
        assert self._metrics.micro_batch_size is not None
        probe_loss = self._measure()
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            facts = (self._metrics.micro_batch_size, probe_loss, self._metrics.count_time())
            checkpoints.mark_complete(checkpoint, self._identity, *facts)
            checkpoints.keep_two(checkpoint, state.best_global_step)

    def _measured(self, logs: dict[str, Any], prefix: str = "") -> dict[str, float]:
        """What the method watches beside the loss, if finite; the last values go into the result."""
        values = {f"{prefix}{ours}": logs.get(f"{prefix}{theirs}") for theirs, ours in self._measures.items()}
        found = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        self._metrics.measures |= found
        return found

    def _point(self, state: TrainerState, logs: dict[str, Any]) -> dict[str, Any]:
        step, tokens, now = state.global_step, int(state.num_input_tokens_seen), time.monotonic()
        (first, _, began), (_, tokens_before, since) = self._session, self._window
        self._window = (step, tokens, now)
        return {
            "step": step,
            "total_steps": state.max_steps,
            "epoch": round(logs.get("epoch", 0.0), 4),
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens": tokens,
            "tokens_per_s": round((tokens - tokens_before) / max(now - since, 1e-9), 1),
            "eta_s": round((now - began) / max(step - first, 1) * (state.max_steps - step), 1),
            "elapsed_s": self._metrics.count_time(),
            "peak_memory_bytes": peak_memory_bytes(),
        }


def any_rank(here: bool, device: torch.device) -> bool:
    """Whether it is true in any process; clocks differ, and all have to stop at the same step."""
    if not torch.distributed.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def refuse_lost_run(step: int, loss: float) -> None:
    """Raises PermanentFailure: `loss_not_finite` (class recipe), `loss_is_zero` from the start (class code)."""
    if not math.isfinite(loss):
        message, param = f"the loss is {loss} at step {step}; lower the learning rate", "method.hyperparameters"
        raise PermanentFailure(FailureClass.RECIPE, "loss_not_finite", message, f"{param}.learning_rate")
    if loss == 0 and step <= FIRST_STEPS:
        message = f"the loss is exactly 0 at step {step}: no token is learned from"
        raise PermanentFailure(FailureClass.CODE, "loss_is_zero", message)


def start_measuring() -> None:
    """Forget the GPU's peak so far, for example that of an attempt which ran out of memory."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def measured_peak_bytes() -> int | None:
    """Peak of tensors on the GPU; None on a CPU, whose memory holds much else."""
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def peak_memory_bytes() -> int:
    """Most memory held so far: of the GPU where there is one, else of this process."""
    of_gpu = measured_peak_bytes()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if of_gpu is None else of_gpu


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
    metrics: RunningMetrics, curve: Curve, state: TrainerState, method: ModuleType, lost_best: int | None = None
) -> None:
    """Fill in the figures of the whole run from the curve. `lost_best`: the step of a best checkpoint that is lost."""
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
