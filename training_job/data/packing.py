"""Which rows a step sees, and how they lie in micro batches, which never changes the result. Import only with torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.data import Sampler

from training_job.data.chat_rows import Encoded

GROUP_BATCHES = 50


@dataclass(frozen=True)
class Layout:
    """How a micro batch is laid out: up to `rows` rows of `row_tokens` tokens, padded, or as many packed."""

    kind: Literal["packed", "padded", "plain"]
    rows: int
    row_tokens: int

    def micro_batches(self, rows: Sequence[Encoded]) -> list[list[Encoded]]:
        """The rows in micro batches: packed by first fit, longest first; padded with rows of like length."""
        longest_first = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)
        if self.kind != "packed":
            return [longest_first[at : at + self.rows] for at in range(0, len(longest_first), self.rows)]
        batches: list[list[Encoded]] = []
        room: list[int] = []
        for row in longest_first:
            length = len(row.input_ids)
            fits = next((i for i, left in enumerate(room) if left >= length), None)
            if fits is None:
                batches.append([row])
                room.append(self.rows * self.row_tokens - length)
            else:
                batches[fits].append(row)
                room[fits] -= length
        return batches


def steps_of_run(rows: int, batch_size: int, seed: int, steps: int) -> list[list[int]]:
    """Row indices of each optimizer step. Each epoch is a permutation that depends on seed and epoch alone."""
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < steps:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(rows, generator=generator).tolist()
        plan += [order[at : at + batch_size] for at in range(0, rows, batch_size)]
        epoch += 1
    return plan[:steps]


class ByLength(Sampler[int]):
    """Row indices in batches of like length, for trainers of trl, which pad. Sorted within groups of batches, which are
    shuffled: a run that saw its longest rows first learned less (docs/decisions). The order depends on seed and epoch
    alone; transformers' sampler draws from the global generator."""

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
        group, size = self._batch_size * GROUP_BATCHES, self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), group):
            by_length = sorted(order[start : start + group], key=self._lengths.__getitem__)
            batches += [by_length[at : at + size] for at in range(0, len(by_length), size)]
        short = [batches.pop()] if len(batches[-1]) < size else []  # the epoch's last batch may be short, no other
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        return iter([row for batch in shuffled + short for row in batch])


def shared_out(layout: Layout, rows: Sequence[Encoded], process: int, processes: int) -> list[list[Encoded]]:
    """The micro batches of one process, as many as of any other: fillers, at the end, are empty, for processes wait for
    each other. Rows are dealt out by length, so that all are busy about as long."""
    longest_first = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)
    of_each = [layout.micro_batches(longest_first[each::processes]) for each in range(processes)]
    own = of_each[process]
    return own + [[] for _ in range(max(map(len, of_each)) - len(own))]
