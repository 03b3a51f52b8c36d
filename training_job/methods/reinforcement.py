"""GRPO (arXiv 2402.03300): the model's own answers are rewarded by the recipe's graders. Import only with torch."""

import random
from typing import cast

from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import Reinforcement, ResolvedReinforcement
from training_job import patches
from training_job.data.chat_rows import EncodedPrompt, encode_prompts
from training_job.data.selection import EncodedData
from training_job.job.setup import Setup
from training_job.methods.reward_watch import Calibrator, RewardWatch, diagnose
from training_job.methods.rewards import Rewards
from training_job.methods.step import adapted, finished, settings

MEASURES = {
    "reward": "reward",
    "reward_gap": "reward_gap",
    "reward_std": "reward_spread",
    "frac_reward_zero_std": "share_equal_groups",
    "reward_errors": "reward_errors",
    "completions/mean_length": "answer_tokens",
    "completions/clipped_ratio": "share_cut_answers",
    "entropy": "entropy",
    "kl": "kl",
}
# Training measures rewards of a sample of the prompts of selection; the evaluation job grades all of them.
WATCHED_PROMPTS = 64
read = encode_prompts
__all__ = ["MEASURES", "build", "diagnose", "read"]


def build(setup: Setup, data: EncodedData) -> GRPOTrainer:
    """trl's trainer, rewarded by the recipe's graders; it calibrates them before the first step."""
    patches.no_answers_in_logs()
    method = setup.recipe.requested.method
    assert isinstance(method, Reinforcement)
    prompts, watched = list(data.train), some(list(data.selection), WATCHED_PROMPTS, setup.hyperparameters.seed)
    items = [prompt.item for prompt in (*prompts, *watched)]
    rewards = Rewards(method.graders, items, ask=setup.ask)
    trainer = PromptTrainer(
        **adapted(setup),
        reward_funcs=rewards,
        args=config(setup),
        train_dataset=as_dataset(prompts, 0),
        eval_dataset=as_dataset(watched, len(prompts)) if watched else None,
        processing_class=setup.tokenizer,
    )
    assert isinstance(setup.hyperparameters, ResolvedReinforcement)
    answers = rows_per_step(setup.hyperparameters)
    # After running out of memory a micro batch is smaller than planned; then fewer answers are sampled at once too.
    less = setup.hyperparameters.micro_batch_size // setup.micro_batch_size
    trainer.at_once = max(1, setup.hyperparameters.generation_batch_size // less)
    trainer.add_callback(RewardWatch(answers, len(watched)))
    trainer.add_callback(Calibrator(trainer.answers, rewards, prompts, setup))
    finished(trainer)
    trainer.remove_callback(EarlyStoppingCallback)  # rewards of a few dozen answers go up and down
    return trainer


def config(setup: Setup) -> GRPOConfig:
    """What GRPO sets beside the common settings; a micro batch is of answers."""
    hyperparameters = setup.hyperparameters
    assert isinstance(hyperparameters, ResolvedReinforcement)
    common = settings(setup)
    common["gradient_accumulation_steps"] = rows_per_step(hyperparameters) // setup.micro_batch_size
    # Warm-up, for Adam's first step is as large as its rate whatever the gradient, and one too large ends a policy;
    # no decay, for the answers that are compared change with the policy.
    common["lr_scheduler_type"], common["warmup_steps"] = "constant_with_warmup", 0.1
    common["metric_for_best_model"], common["greater_is_better"] = "eval_reward", True
    return GRPOConfig(
        **common,
        per_device_eval_batch_size=max(8, setup.micro_batch_size),
        num_generations=hyperparameters.rollouts_per_prompt,
        num_generations_eval=1,
        max_completion_length=hyperparameters.max_new_tokens,
        temperature=hyperparameters.temperature,
        beta=hyperparameters.beta,
        log_completions=False,
    )


class PromptTrainer(GRPOTrainer):
    """trl's trainer, fed with tokens of `shared.rendering` instead of making its own."""

    at_once: int

    create_model_card = patches.no_model_card
    _tokenize_prompts = patches.keep_prompts
    _get_train_sampler = patches.sampler_by_epoch  # type: ignore[assignment]  # other names of the arguments
    _generate_single_turn = patches.sample_in_parts  # type: ignore[assignment]

    def sampler(self, prompts: Dataset) -> "SeededRepeats":
        settings = cast(GRPOConfig, self.args)
        assert settings.generation_batch_size is not None
        assert settings.steps_per_generation is not None
        assert settings.num_generations is not None
        return SeededRepeats(
            data_source=prompts,
            mini_repeat_count=settings.num_generations,
            batch_size=settings.generation_batch_size // settings.num_generations,
            repeat_count=settings.num_iterations * settings.steps_per_generation,
            seed=settings.seed,
        )

    def answers(self, prompts: list[list[int]]) -> list[str]:
        """One sampled answer a prompt, drawn as in training."""
        ids, _ = patches.sample_in_parts(self, prompts, None, {}, 1)
        tokenizer = cast(PreTrainedTokenizerBase, self.processing_class)
        return tokenizer.batch_decode(ids, skip_special_tokens=True)


class SeededRepeats(RepeatSampler):
    """An order that depends on seed and epoch alone, so that a run resumed in a later epoch sees the same prompts."""

    set_epoch = patches.start_epoch


def some(prompts: list[EncodedPrompt], most: int, seed: int) -> list[EncodedPrompt]:
    """A seeded sample, in the file's order."""
    if len(prompts) <= most:
        return prompts
    chosen = sorted(random.Random(seed).sample(range(len(prompts)), most))  # noqa: S311  # not a secret
    return [prompts[i] for i in chosen]


def as_dataset(prompts: list[EncodedPrompt], first: int) -> Dataset:
    """A `datasets.Dataset` of token ids and the index of the row's fields, counted from `first`."""
    return Dataset.from_dict(
        {"prompt": [prompt.ids for prompt in prompts], "row": list(range(first, first + len(prompts)))}
    )
