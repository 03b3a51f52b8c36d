"""Rewards of a reinforcement run: watched, evaluated, and never silently missing."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure


def train(reward: float, *, equal: float = 0.2, spread: float = 0.3) -> dict[str, Any]:
    return {"loss": 0.1, "reward": reward, "reward_std": spread, "frac_reward_zero_std": equal}


def eval_point(reward: float, spread: float = 0.3) -> dict[str, Any]:
    return {"eval_loss": 0.0, "eval_reward": reward, "eval_reward_std": spread}


def watched(tmp_path: Any, *lines: dict[str, Any], held_out: int = 64) -> Any:
    """What the trainer is told after each of the lines was logged."""
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from training_job.methods.reward_watch import RewardWatch

    watch, state, control = RewardWatch(64, held_out), TrainerState(), TrainerControl()
    for line in lines:
        state.log_history.append(dict(line))
        watch.on_log(TrainingArguments(output_dir=str(tmp_path)), state, control, logs=line)
    return control


def test_the_gap_is_between_rewards_since_the_last_evaluation_and_held_out_ones(tmp_path: Any) -> None:
    first, second = eval_point(0.2), eval_point(0.5)
    watched(tmp_path, train(0.1), train(0.3), first, train(0.5), train(0.6), second)
    assert first["eval_reward_gap"] == pytest.approx(0.0)
    assert second["eval_reward_gap"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("gap", "held_out", "stops"),
    [(0.04, 64, False), (0.09, 64, False), (0.25, 64, True), (0.25, 6, False)],
    ids=["fine", "a warning", "too much", "too few answers to tell"],
)
def test_a_gap_beyond_the_limit_and_beyond_chance_ends_the_run(
    gap: float, held_out: int, stops: bool, tmp_path: Any
) -> None:
    control = watched(tmp_path, train(0.5 + gap), train(0.5 + gap), eval_point(0.5), held_out=held_out)
    assert control.should_training_stop is stops


def test_a_run_whose_answers_all_earn_the_most_ends_early() -> None:
    from training_job.methods.reward_watch import FLAT_LINES, has_learned_all

    flat = [train(0.3)] + [train(1.0, equal=1.0, spread=0.0)] * FLAT_LINES
    assert has_learned_all(flat)
    assert not has_learned_all(flat[:-1])
    assert not has_learned_all([*flat[:-1], train(1.0, equal=0.9)])


def test_a_policy_that_fell_to_pieces_fails_the_run(tmp_path: Any) -> None:
    from training_job.methods.reward_watch import FLAT_LINES

    lines = [train(0.3), *[train(0.0, equal=1.0, spread=0.0)] * FLAT_LINES]
    with pytest.raises(PermanentFailure) as failure:
        watched(tmp_path, *lines)
    assert failure.value.failure_class is FailureClass.RECIPE
    assert failure.value.problem.code == "rewards_went_flat"
    assert failure.value.problem.param == "method.hyperparameters.learning_rate"


def test_the_diagnosis_says_what_the_rewards_did() -> None:
    from training_job.methods.reward_watch import diagnose

    points = [
        *({"step": step, "reward": 0.4, "share_equal_groups": 0.6} for step in range(1, 9)),
        {"step": 8, "eval_reward": 0.2, "eval_reward_gap": 0.2},
    ]
    assert diagnose(points, "deadline", 4) == (
        "Training stopped before its last step: the recipe's deadline was near.",
        "Answers to training prompts earn 0.20 more than those to prompts of selection: more prompts are needed.",
        "The mean reward did not rise (0.40 to 0.40): raise the learning rate.",
        "60% of the prompts had answers of equal reward, from which nothing is learned.",
        "The selection reward was highest at step 4; the model is of that checkpoint.",
    )
    rising = [{"step": step, "reward": step / 10, "share_equal_groups": 0.1} for step in range(1, 9)]
    assert diagnose(rising, None, 8) == ()


@pytest.mark.parametrize(
    ("cut", "shown"),
    [([0.5, 0.4, *[0.0] * 6], "45%"), ([*[0.0] * 6, 0.2, 0.6], "40%"), ([*[0.1] * 8], ""), ([*[0.0] * 7, 0.2], "")],
)
def test_the_diagnosis_says_that_answers_were_cut_at_the_start_or_at_the_end(cut: list[float], shown: str) -> None:
    from training_job.methods.reward_watch import diagnose

    points = [{"step": step, "reward": step, "share_cut_answers": share} for step, share in enumerate(cut)]
    what = "of the answers of a quarter of the steps were cut at max_new_tokens"
    assert [line for line in diagnose(points, None, None) if "cut" in line] == (
        [f"{shown} {what}, so graders saw no end of them and short answers earned more: raise it."] if shown else []
    )
