"""Rewards of a reinforcement run: their gap to selection, by Microsoft's thresholds; rewards gone flat. With torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import sqrt
from statistics import fmean
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import Reinforcement, ResolvedReinforcement
from shared.grading.calibration import calibrate
from training_job.data.chat_rows import EncodedPrompt
from training_job.job.diagnosis import ENDED_BY
from training_job.job.files import write_json
from training_job.job.runtime import CALIBRATION_FILE
from training_job.job.setup import Setup
from training_job.methods.rewards import Rewards

GAP_FINE, GAP_MAX = 0.05, 0.10
FLAT_LINES = 10  # log lines without a single group of differing rewards
# Of the answers. Where it was 0.45, a tuned model left out the second of two reasons to stay below the limit.
CUT_MAX = 0.1
Logs = dict[str, Any]


class RewardWatch(TrainerCallback):
    """Adds `eval_reward_gap` to the log of an evaluation, and ends runs that no longer learn. Reads only the trainer's
    history, which checkpoints keep, so a resumed run decides as one that was not."""

    def __init__(self, answers_per_step: int, selection_answers: int) -> None:
        self._answers_per_step, self._selection_answers = answers_per_step, selection_answers

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: Logs = kwargs["logs"]
        if "eval_reward" in logs:
            before = state.log_history[:-1]
            last = max((i for i, line in enumerate(before) if "eval_reward" in line), default=-1)
            if since := [line for line in before[last + 1 :] if "reward" in line]:
                logs["eval_reward_gap"] = fmean(line["reward"] for line in since) - logs["eval_reward"]
                control.should_training_stop |= logs["eval_reward_gap"] - 2 * self._error(since, logs) > GAP_MAX
        elif "reward" in logs:
            control.should_training_stop |= has_learned_all([line for line in state.log_history if "reward" in line])

    def _error(self, since: Sequence[Logs], logs: Logs) -> float:
        """Standard error of the gap, so that chance does not end a run whose rows of selection are few."""
        answers = self._answers_per_step * len(since)
        spread = fmean(line["reward_std"] for line in since)
        return sqrt(spread**2 / answers + logs["eval_reward_std"] ** 2 / self._selection_answers)


def has_learned_all(lines: Sequence[Logs]) -> bool:
    """Whether every answer to a prompt earns the same by now, and more than at the start. Raises PermanentFailure
    `rewards_went_flat` of class recipe where they earn no more: the policy is broken."""
    recent = lines[-FLAT_LINES:]
    if len(recent) < FLAT_LINES or any(line["frac_reward_zero_std"] < 1 for line in recent):
        return False
    before, now = lines[0]["reward"], fmean(line["reward"] for line in recent)
    if now > before:
        return True
    message = (
        f"all answers to a prompt earn the same for {FLAT_LINES} log lines, {now:.2f} on average after {before:.2f} "
        "at the start: nothing is learned any more; lower the learning rate"
    )
    raise PermanentFailure(FailureClass.RECIPE, "rewards_went_flat", message, "method.hyperparameters.learning_rate")


def diagnose(points: Sequence[Logs], stopped: str | None, best_step: int | None) -> tuple[str, ...]:
    """Sentences about a reinforcement run, the most important first; see `training_job.job.diagnosis`."""
    found = [ENDED_BY[stopped]] if stopped in ("deadline", "budget") else []
    rewards = [point["reward"] for point in points if point.get("reward") is not None]
    gaps = [point["eval_reward_gap"] for point in points if point.get("eval_reward_gap") is not None]
    equal = [point["share_equal_groups"] for point in points if point.get("share_equal_groups") is not None]
    if gaps and gaps[-1] > GAP_FINE:
        what = f"Answers to training prompts earn {gaps[-1]:.2f} more than those to prompts of selection"
        found.append(f"{what}: {'more prompts are needed' if gaps[-1] > GAP_MAX else 'watch it, 0.10 is too much'}.")
    if len(rewards) > 1:
        before, after = _ends(rewards)
        if after <= before:
            found.append(f"The mean reward did not rise ({before:.2f} to {after:.2f}): raise the learning rate.")
    cut = [point["share_cut_answers"] for point in points if point.get("share_cut_answers") is not None]
    if cut and (share := max(_ends(cut))) > CUT_MAX:
        what = f"{share:.0%} of the answers of a quarter of the steps were cut at max_new_tokens"
        found.append(f"{what}, so graders saw no end of them and short answers earned more: raise it.")
    if equal and fmean(equal) > 0.5:
        found.append(f"{fmean(equal):.0%} of the prompts had answers of equal reward, from which nothing is learned.")
    if best_step is not None and points and best_step < points[-1]["step"]:
        found.append(f"The selection reward was highest at step {best_step}; the model is of that checkpoint.")
    return tuple(found)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return fmean(values[:quarter]), fmean(values[-quarter:])


ANSWERS = 128
Sampler = Callable[[list[list[int]]], list[str]]  # one answer to each prompt of token ids


class Calibrator(TrainerCallback):
    """Compares rewards and scores of the starting model's answers. Raises PermanentFailure `reward_not_fit`."""

    def __init__(self, sample: Sampler, rewards: Rewards, prompts: list[EncodedPrompt], setup: Setup) -> None:
        self._draw, self._rewards, self._prompts, self._setup = sample, rewards, prompts, setup

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step:
            return
        hyperparameters, recipe = self._setup.hyperparameters, self._setup.recipe.requested
        assert isinstance(hyperparameters, ResolvedReinforcement)
        assert isinstance(recipe.method, Reinforcement)
        rollouts = hyperparameters.rollouts_per_prompt
        prompts = self._prompts[: math.ceil(ANSWERS / rollouts)]
        with torch.random.fork_rng():  # the run draws the same numbers, calibrated or resumed
            answers = self._sample([prompt for prompt in prompts for _ in range(rollouts)])
        items = [prompt.item for prompt in prompts for _ in range(rollouts)]
        rewards = self._rewards.of(answers, items)
        evaluation = Rewards(recipe.evaluation.graders, setting="evaluation", ask=self._setup.ask)
        scores = evaluation.of(answers, items)
        pairs = list(zip(rewards, scores, strict=True))
        groups = (pairs[start : start + rollouts] for start in range(0, len(pairs), rollouts))
        graded = ([(one, other) for one, other in group if one is not None and other is not None] for group in groups)
        found = calibrate([group for group in graded if group])
        write_json(self._setup.output / CALIBRATION_FILE, asdict(found))
        print(f"calibration: {found}", flush=True)
        if found.problems:
            raise PermanentFailure(FailureClass.RECIPE, "reward_not_fit", "; ".join(found.problems), "method.graders")

    def _sample(self, prompts: list[EncodedPrompt]) -> list[str]:
        step = rows_per_step(self._setup.hyperparameters)
        batches = [prompts[start : start + step] for start in range(0, len(prompts), step)]
        return [text for batch in batches for text in self._draw([prompt.ids for prompt in batch])]
