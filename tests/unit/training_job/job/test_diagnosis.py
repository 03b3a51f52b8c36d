"""What a loss curve says in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from training_job.job.diagnosis import diagnose


def curve(train: list[float], held_out: list[float]) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for step, (loss, eval_loss) in enumerate(zip(train, held_out, strict=True), start=1):
        points += [{"step": step, "loss": loss}, {"step": step, "eval_loss": eval_loss}]
    return points


@pytest.mark.parametrize(
    ("ratio", "output"),
    [
        (1.1, None),
        (1.3, "mild overfit."),
        (1.7, "overfit, use fewer epochs or more data."),
        (2.4, "strong overfit, an earlier checkpoint is better; use fewer epochs or more data."),
    ],
)
def test_the_ratio_of_held_out_to_training_loss_is_judged_by_the_published_thresholds(
    ratio: float, output: str | None
) -> None:
    found = diagnose(curve([2.0, 1.0, 0.5], [2.0, 1.0, 0.5 * ratio]), None, None)
    assert [line.split(": ")[1] for line in found if "times the training loss" in line] == ([output] if output else [])


def test_losses_close_to_nothing_are_no_overfit() -> None:
    assert diagnose(curve([1.0, 0.3, 0.001], [1.0, 0.3, 0.004]), None, 3) == ()


def test_a_loss_that_does_not_fall_and_one_that_still_does_are_told_apart() -> None:
    flat = diagnose(curve([2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]), None, 1)
    assert any("did not fall" in line for line in flat)
    falling = diagnose(curve([2.0, 1.5, 1.0, 0.7], [2.1, 1.6, 1.1, 0.8]), None, 4)
    assert falling == ("The selection loss was still falling at the end: more epochs may help.",)
