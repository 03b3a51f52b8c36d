"""Compares rewards with the evaluation's scores before the first step of a reinforcement run.

Import only where torch may be loaded.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import Reinforcement, ResolvedReinforcement
from shared.grading.calibration import calibrate
from training_job.data.chat_rows import EncodedPrompt
from training_job.job.files import write_json
from training_job.job.runtime import CALIBRATION_FILE
from training_job.job.setup import Setup
from training_job.methods.rewards import Rewards

ANSWERS = 128
Sampler = Callable[[list[list[int]]], list[str]]  # one answer to each prompt of token ids


class Calibrator(TrainerCallback):
    """Samples answers of the starting model as training does, and compares their rewards with the evaluation's scores.

    Writes `calibration.json`; raises PermanentFailure `reward_not_fit` of class recipe if there are problems.
    """

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
        groups = [pairs[start : start + rollouts] for start in range(0, len(pairs), rollouts)]
        found = calibrate([graded for group in groups if (graded := _graded(group))])
        write_json(self._setup.output / CALIBRATION_FILE, asdict(found))
        print(f"calibration: {found}", flush=True)
        if found.problems:
            raise PermanentFailure(FailureClass.RECIPE, "reward_not_fit", "; ".join(found.problems), "method.graders")

    def _sample(self, prompts: list[EncodedPrompt]) -> list[str]:
        step = rows_per_step(self._setup.hyperparameters)
        batches = [prompts[start : start + step] for start in range(0, len(prompts), step)]
        return [text for batch in batches for text in self._draw([prompt.ids for prompt in batch])]


def _graded(pairs: list[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    return [(reward, score) for reward, score in pairs if reward is not None and score is not None]
