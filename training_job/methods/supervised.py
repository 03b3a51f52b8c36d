"""Supervised tuning: the loss falls on what the assistant said.

Import only where torch may be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from trl import SFTConfig, SFTTrainer

from shared.domain.recipe import ResolvedRecipe
from shared.rendering import Bundle
from shared.rendering.check import LengthPolicy
from training_job.chat_rows import EncodedRows, encode_file
from training_job.methods import Data
from training_job.trainer import Setup, adapted, common_settings, made_safe

GROUP_BATCHES = 50
MEASURES: dict[str, str] = {}


def read(train: Path, held_out: Path, bundle: Bundle, policy: LengthPolicy, recipe: ResolvedRecipe) -> Data:
    """Chat rows of both files; see `encode_file` for what is refused."""
    rows, judged = (encode_file(file, bundle, policy) for file in (train, held_out))
    return Data(
        train=rows,
        held_out=judged,
        train_rows=len(rows.rows),
        dropped_rows=len(rows.dropped) + len(judged.dropped),
        truncated_rows=len(rows.truncated) + len(judged.truncated),
    )


def build(setup: Setup, data: Data) -> SFTTrainer:
    """trl's trainer over batches of rows of like length."""
    trainer = ByLengthTrainer(
        **adapted(setup),
        args=config(setup),
        train_dataset=as_dataset(data.train),
        eval_dataset=as_dataset(data.held_out),
        processing_class=setup.tokenizer,
    )
    return made_safe(trainer)


def config(setup: Setup) -> SFTConfig:
    """What supervised training sets beside the common settings."""
    return SFTConfig(
        **common_settings(setup),
        per_device_eval_batch_size=max(8, setup.micro_batch_size),
        max_length=None,  # rows were counted and refused or dropped before; nothing is cut in silence
        dataset_kwargs={"skip_prepare_dataset": True},
        include_num_input_tokens_seen="non_padding",
    )


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


def as_dataset(rows: EncodedRows) -> Dataset:
    """A `datasets.Dataset` of input_ids and labels, which trl takes as they are."""
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows.rows], "labels": [row.labels for row in rows.rows]}
    )
