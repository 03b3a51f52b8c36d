"""DPO (arXiv 2305.18290): the preferred answer gets likelier than under the starting model. Import only with torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from shared.domain.recipe import ResolvedPreference
from training_job import patches
from training_job.data.chat_rows import IGNORED, Encoded, Pair, encode_pairs
from training_job.data.packing import ByLength
from training_job.data.selection import EncodedData
from training_job.job import diagnosis as loss_diagnosis
from training_job.job.setup import Setup
from training_job.methods.step import adapted, finished, model_of, settings

NO_BETTER_THAN_CHANCE = 0.55
MEASURES = {"rewards/accuracies": "reward_accuracy", "rewards/margins": "reward_margin"}
read = encode_pairs


def build(setup: Setup, data: EncodedData) -> DPOTrainer:
    """trl's trainer over pairs that were tokenized here."""
    trainer = PairTrainer(
        **adapted(setup),
        args=config(setup),
        train_dataset=as_dataset(data.train),
        eval_dataset=as_dataset(data.selection) if data.selection else None,
        processing_class=setup.tokenizer,
        data_collator=Collator(setup.tokenizer.pad_token_id),
    )
    patches.share_adapter_inputs(model_of(trainer))
    return finished(trainer)


def diagnose(points: Sequence[dict[str, Any]], stopped: str | None, best_step: int | None) -> tuple[str, ...]:
    """What a run's curve says of pairs, and what it says of any loss."""
    accuracies = [point["eval_reward_accuracy"] for point in points if "eval_reward_accuracy" in point]
    found = loss_diagnosis.diagnose(points, stopped, best_step)
    if accuracies and accuracies[-1] < NO_BETTER_THAN_CHANCE:
        share = f"{accuracies[-1]:.0%}"
        what = f"Of the pairs of selection the preferred answer became likelier in {share}"
        return (f"{what}: no better than chance.", *found)
    return found


def config(setup: Setup) -> DPOConfig:
    """What DPO sets beside the common settings."""
    assert isinstance(setup.hyperparameters, ResolvedPreference)
    return DPOConfig(
        **settings(setup),
        per_device_eval_batch_size=max(4, setup.micro_batch_size),
        beta=setup.hyperparameters.beta,
        max_length=None,  # pairs were counted and refused or dropped before; nothing is cut in silence
        remove_unused_columns=False,
        include_num_input_tokens_seen="non_padding",
    )


@dataclass(frozen=True)
class Collator:
    """Pairs to a padded batch `[2 * pairs, length]`, preferred answers first, as DPOTrainer's loss reads it."""

    pad_token_id: int

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        ids = [torch.tensor(row[f"{output}_ids"]) for output in ("chosen", "rejected") for row in rows]
        labels = [torch.tensor(row[f"{output}_labels"]) for output in ("chosen", "rejected") for row in rows]
        has_loss = pad_sequence(labels, batch_first=True, padding_value=IGNORED) != IGNORED
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "completion_mask": has_loss.long(),
        }


class PairTrainer(DPOTrainer):
    """trl's trainer, fed with tokens of `shared.rendering` instead of making its own, pairs of like length together."""

    create_model_card = patches.no_model_card
    _prepare_dataset = patches.keep_dataset
    _get_train_sampler = patches.sampler_by_epoch

    def sampler(self, pairs: Dataset) -> ByLength:
        lengths = [max(map(len, both)) for both in zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)]
        return ByLength(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps, self.args.seed)


def as_dataset(pairs: Sequence[Pair]) -> Dataset:
    """A `datasets.Dataset` with ids and labels of both answers."""

    def columns(output: str, rows: Sequence[Encoded]) -> dict[str, list[list[int]]]:
        return {f"{output}_ids": [row.input_ids for row in rows], f"{output}_labels": [row.labels for row in rows]}

    chosen, rejected = ([getattr(pair, output) for pair in pairs] for output in ("chosen", "rejected"))
    return Dataset.from_dict(columns("chosen", chosen) | columns("rejected", rejected))
