"""Runs that learn nothing are stopped, and nothing waits for the device without need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure


def test_only_a_log_line_waits_for_what_the_device_computes(
    bench: Callable[..., Any], resolved: Any, tmp_path: Path
) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode
    from transformers import EarlyStoppingCallback

    class Reads(TorchDispatchMode):
        """Counts tensors whose value the host asks for."""

        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += "_local_scalar_dense" in str(function)
            return function(*args, **(kwargs or {}))

    trainer = bench(tmp_path, recipe=resolved(total_steps=20, micro_batch_size=2)).trainer()
    settings = trainer.args
    settings.logging_steps, settings.eval_strategy, settings.save_strategy = 10, "no", "no"
    settings.load_best_model_at_end = False
    trainer.pop_callback(EarlyStoppingCallback)
    with Reads() as reads:
        trainer.train()
    assert [line["step"] for line in trainer.state.log_history if "loss" in line] == [1, 10, 20]
    assert reads.count == 2 * 3 + 2  # loss and gradient norm of each line; the data's order, and the run's mean loss


@pytest.mark.parametrize(
    ("step", "loss", "code", "failure_class"),
    [
        (500, float("nan"), "loss_not_finite", FailureClass.RECIPE),
        (1, float("inf"), "loss_not_finite", FailureClass.RECIPE),
        (1, 0.0, "loss_is_zero", FailureClass.CODE),
    ],
)
def test_a_lost_run_is_stopped(step: int, loss: float, code: str, failure_class: FailureClass) -> None:
    from training_job.methods.watch import refuse_lost_run

    with pytest.raises(PermanentFailure) as caught:
        refuse_lost_run(step, loss)
    assert (caught.value.problem.code, caught.value.failure_class) == (code, failure_class)


def test_a_loss_that_has_fallen_to_zero_late_is_no_fault() -> None:
    from training_job.methods.watch import refuse_lost_run

    refuse_lost_run(500, 0.0)  # must not raise


def test_a_measure_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    from training_job.job.curve import Curve
    from training_job.job.runtime import RunningMetrics
    from training_job.methods.watch import Watch

    metrics = RunningMetrics()
    watch = Watch(Curve(tmp_path), metrics, None, {"a": "reward", "b": "gap"}, None)  # type: ignore[arg-type]
    assert watch._measured({"eval_a": float("nan"), "eval_b": 0.5}, "eval_") == {"eval_gap": 0.5}
    watch._measured({"a": float("-inf")})
    assert metrics.measures == {"eval_gap": 0.5}
