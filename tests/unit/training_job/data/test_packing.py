"""Which rows are packed or padded together, in which order."""

from __future__ import annotations

import random
from typing import Any


def test_a_micro_batch_never_holds_more_than_was_planned_for(encoded_rows: list[Any]) -> None:
    from training_job.data.packing import Layout

    for size in (1, 2, 5):
        packed = Layout("packed", size, 64).micro_batches(encoded_rows)
        padded = Layout("padded", size, 64).micro_batches(encoded_rows)
        assert max(sum(len(row.input_ids) for row in batch) for batch in packed) <= size * 64
        assert max(map(len, padded)) <= size
        for batches in (packed, padded):
            assert sorted(row.number for batch in batches for row in batch) == list(range(1, 12))


def test_packs_are_nearly_full() -> None:
    from training_job.data.chat_rows import Encoded
    from training_job.data.packing import Layout

    chance = random.Random(1)
    rows = [Encoded(n, [5] * min(512, int(chance.lognormvariate(4.2, 0.8)) + 10), []) for n in range(128)]
    packs = Layout("packed", 4, 512).micro_batches(rows)
    full = [sum(len(row.input_ids) for row in pack) / 2048 for pack in packs[:-1]]
    assert len(full) >= 4
    assert min(full) > 0.95


def test_every_epoch_shows_every_row_once_in_an_order_of_seed_and_epoch_alone() -> None:
    import torch

    from training_job.data.packing import steps_of_run

    steps = steps_of_run(rows=10, batch_size=4, seed=7, steps=6)
    torch.rand(3)
    assert steps == steps_of_run(10, 4, seed=7, steps=6)
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    epochs = [[row for step in steps[at : at + 3] for row in step] for at in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert steps[:3] != steps_of_run(10, 4, seed=8, steps=3)


def test_padded_batches_hold_rows_of_like_length_in_no_order_of_length() -> None:
    from training_job.data.packing import ByLength

    chance = random.Random(0)
    lengths = [chance.randrange(10, 500) for _ in range(403)]
    order = list(ByLength(lengths, 4, seed=1))
    assert sorted(order) == list(range(403))
    batches = [[lengths[i] for i in order[at : at + 4]] for at in range(0, 400, 4)]
    padding = sum(max(batch) * 4 - sum(batch) for batch in batches) / sum(map(sum, batches))
    assert padding < 0.05
    halves = [sum(map(sum, batches[at : at + 50])) for at in (0, 50)]
    assert 0.8 < halves[0] / halves[1] < 1.25


def test_the_order_of_padded_rows_is_a_matter_of_seed_and_epoch_alone() -> None:
    import torch

    from training_job.data.packing import ByLength

    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(7)
        sampler = ByLength([5] * 40, 4, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2) != order(2, 2)
