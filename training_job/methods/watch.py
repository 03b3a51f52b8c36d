"""The trainer's callback: it keeps the curve, marks checkpoints, guards precision and stops lost runs."""

import math
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.results import TimeLimit
from training_job import patches
from training_job.job import checkpoints
from training_job.job.curve import Curve
from training_job.job.runtime import RunningMetrics

FIRST_STEPS = 10


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
        self._session = _Speed(0, 0)
        self._window = _Speed(0, 0)

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
        self._session = _Speed(state.global_step, int(state.num_input_tokens_seen))
        self._window = self._session
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
        step, tokens = state.global_step, int(state.num_input_tokens_seen)
        tokens_per_s = self._window.tokens_per_s(tokens)
        self._window = _Speed(step, tokens)
        return {
            "step": step,
            "total_steps": state.max_steps,
            "epoch": round(logs.get("epoch", 0.0), 4),
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens": tokens,
            "tokens_per_s": tokens_per_s,
            "eta_s": self._session.eta_s(step, state.max_steps),
            "elapsed_s": self._metrics.count_time(),
            "peak_memory_bytes": peak_memory_bytes(),
        }


class _Speed:
    """Steps and tokens since a moment."""

    def __init__(self, step: int, tokens: int) -> None:
        self._step, self._tokens, self._since = step, tokens, time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._since

    def tokens_per_s(self, tokens: int) -> float:
        return round((tokens - self._tokens) / max(self.seconds(), 1e-9), 1)

    def eta_s(self, step: int, total_steps: int) -> float:
        per_step = self.seconds() / max(step - self._step, 1)
        return round(per_step * (total_steps - step), 1)


def any_rank(here: bool, device: torch.device) -> bool:
    """Whether it is true in any process; clocks differ, and all have to stop at the same step."""
    if not torch.distributed.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def refuse_lost_run(step: int, loss: float) -> None:
    """Stop a run that learns nothing: a loss that is NaN, or exactly 0 from the start.

    Raises PermanentFailure: `loss_not_finite` (class recipe) or `loss_is_zero` (class code).
    """
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
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
