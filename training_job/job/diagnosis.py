"""What a curve says, in plain words, by the thresholds that Microsoft publishes for the ratio of the two losses."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

MILD, STRONG, SEVERE = 1.2, 1.5, 2.0
CLOSE_TO_NOTHING = 0.05  # nats a token; a ratio of two losses below it is noise
NO_FALL = 0.98
STILL_FALLING = 0.95
MEMORY_TOLERANCE = 0.1

CurvePoint = dict[str, Any]


def diagnose(points: Sequence[CurvePoint], stopped: str | None, best_step: int | None) -> tuple[str, ...]:
    """Sentences about a supervised run, the most important first. `stopped`: why it ended before its last step."""
    losses, evaluated = _values(points, "loss"), _values(points, "eval_loss")
    found = [ENDED_BY[stopped]] if stopped else []
    if len(losses) > 1:
        found += overfit(losses, evaluated)
        quarter = max(1, len(losses) // 4)
        before, after = (fmean(loss for _, loss in part) for part in (losses[:quarter], losses[-quarter:]))
        if after > before * NO_FALL:
            found.append(
                f"The training loss did not fall ({before:.3g} to {after:.3g}): raise the learning rate, "
                "or look whether the answers follow from the questions at all."
            )
    if evaluated and best_step is not None and best_step < evaluated[-1][0]:
        found.append(f"The selection loss was lowest at step {best_step}; that checkpoint is the model, not the last.")
    if not stopped and len(evaluated) > 1 and CLOSE_TO_NOTHING < evaluated[-1][1] < evaluated[-2][1] * STILL_FALLING:
        found.append("The selection loss was still falling at the end: more epochs may help.")
    return tuple(found)


ENDED_BY = {
    "early": "Training stopped early: the selection loss had not fallen for several evaluations.",
    "deadline": "Training stopped before its last step: the recipe's deadline was near.",
    "budget": "Training stopped before its last step: the recipe's budget was nearly spent.",
}


def overfit(losses: Sequence[tuple[int, float]], evaluated: Sequence[tuple[int, float]]) -> list[str]:
    """The last selection loss against the training loss since the evaluation before it."""
    if not evaluated or evaluated[-1][1] < CLOSE_TO_NOTHING:
        return []
    since = next((step for (step, _), (after, _) in pairwise(evaluated) if after == evaluated[-1][0]), 0)
    recent = [loss for step, loss in losses if step > since] or [losses[-1][1]]
    ratio = evaluated[-1][1] / max(fmean(recent), 1e-9)
    if ratio < MILD:
        return []
    what = f"Selection loss is {ratio:.1f} times the training loss"
    if ratio < STRONG:
        return [f"{what}: mild overfit."]
    if ratio < SEVERE:
        return [f"{what}: overfit, use fewer epochs or more data."]
    return [f"{what}: strong overfit, an earlier checkpoint is better; use fewer epochs or more data."]


def memory(predicted_bytes: int | None, measured_bytes: int | None) -> tuple[str, ...]:
    """A sentence where the peak of tensors on the GPU is not what was planned; a CPU's is not measured."""
    if not predicted_bytes or measured_bytes is None or abs(measured_bytes / predicted_bytes - 1) <= MEMORY_TOLERANCE:
        return ()
    off = measured_bytes / predicted_bytes - 1
    found = f"The GPU held {measured_bytes / 1e9:.1f} GB, {off:+.0%} of the {predicted_bytes / 1e9:.1f} GB planned: "
    return (found + ("the plan is too small." if off > 0 else "the plan is too large, or no micro batch was full."),)


def _values(points: Sequence[CurvePoint], key: str) -> list[tuple[int, float]]:
    return [(point["step"], point[key]) for point in points if point.get(key) is not None]
