"""The trainer: trl's, over a 4-bit base, with float32 adapters and batches of rows of like length.

Import only where torch may be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from shared.domain.recipe import ResolvedHyperparameters, ResolvedRecipe
from training_job import quantised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from training_job.chat_rows import EncodedRows

LOG_LINES, CHECKPOINTS, EVALUATIONS = 60, 10, 6
GROUP_BATCHES = 50


@dataclass(frozen=True)
class Intervals:
    """Steps between two log lines, evaluations and checkpoints; the latter are multiples of the first.

    A checkpoint between two log lines would cut a resumed run's next average short.
    """

    log: int
    evaluate: int
    save: int

    @classmethod
    def of(cls, total_steps: int) -> Intervals:
        log = max(1, total_steps // LOG_LINES)

        def multiple(times: int) -> int:
            return log * max(1, math.ceil(total_steps / times / log))

        return cls(log, multiple(EVALUATIONS), multiple(CHECKPOINTS))


class ByLength(Sampler[int]):
    """Row indices such that each batch holds rows of like length, longest first within a group of batches.

    Random batches of mixed lengths are mostly padding and take twice the time. The order depends on seed and
    epoch alone: transformers' own sampler draws from the global generator, so a run resumed in a later epoch
    would see other rows.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        group = self._batch_size * GROUP_BATCHES
        grouped: list[int] = []
        for start in range(0, len(order), group):
            longest_first = sorted(order[start : start + group], key=self._lengths.__getitem__, reverse=True)
            grouped += longest_first
        return iter(grouped)


class ByLengthTrainer(SFTTrainer):
    """trl's trainer with the sampler above."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength([len(ids) for ids in rows["input_ids"]], batch_size, self.args.seed)


def build_trainer(
    base_model: Path,
    output: Path,
    recipe: ResolvedRecipe,
    tokenizer: PreTrainedTokenizerBase,
    rows: EncodedRows,
    held_out: EncodedRows,
    steps: int,
) -> ByLengthTrainer:
    """A trainer over a 4-bit base with float32 adapters."""
    set_seed(recipe.hyperparameters.seed)
    dtype = getattr(torch, recipe.hyperparameters.compute_dtype)
    trainer = ByLengthTrainer(
        model=quantised.load_model(base_model, dtype, quantise=True),
        args=trainer_config(recipe.hyperparameters, output, steps),
        train_dataset=as_dataset(rows),
        eval_dataset=as_dataset(held_out),
        processing_class=tokenizer,
        peft_config=quantised.lora(recipe.hyperparameters),
    )
    trainer.remove_callback(PrinterCallback)
    quantised.keep_training_kernel(trainer.model)
    quantised.adapters_to_float32(trainer.model)
    return trainer


def trainer_config(hyperparameters: ResolvedHyperparameters, output: Path, steps: int) -> SFTConfig:
    """Settings of trl 1.16; those that differ from its defaults on purpose say why."""
    intervals = Intervals.of(steps)
    return SFTConfig(
        output_dir=str(output / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=hyperparameters.micro_batch_size,
        gradient_accumulation_steps=hyperparameters.batch_size // hyperparameters.micro_batch_size,
        per_device_eval_batch_size=max(8, hyperparameters.micro_batch_size),
        learning_rate=hyperparameters.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_length=None,  # rows were counted and refused or dropped before; nothing is cut in silence
        dataset_kwargs={"skip_prepare_dataset": True},
        activation_checkpointing=hyperparameters.gradient_checkpointing,
        bf16=hyperparameters.compute_dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=intervals.log,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # the default hides a loss that is not a number
        include_num_input_tokens_seen="non_padding",
        eval_strategy="steps",
        eval_steps=intervals.evaluate,
        save_steps=intervals.save,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        seed=hyperparameters.seed,
    )


def as_dataset(rows: EncodedRows) -> Dataset:
    """A `datasets.Dataset` of input_ids and labels, which trl takes as they are."""
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows.rows], "labels": [row.labels for row in rows.rows]}
    )
