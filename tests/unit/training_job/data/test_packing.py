"""Packing changes the speed and nothing else: the same rows a step, the same loss, the same gradients."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOLERANCE = 1e-5  # float32: sums in another order


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    """Rows of 6 to 60 tokens; about a third of each is trained on."""
    from training_job.data.chat_rows import IGNORED, Encoded

    chance = random.Random(5)
    made = []
    for number in range(1, 12):
        ids = [chance.randrange(3, 600) for _ in range(chance.randrange(6, 61))]
        start = len(ids) * 2 // 3
        made.append(Encoded(number, ids, [IGNORED] * start + ids[start:]))
    return made


@pytest.fixture(scope="module")
def trainer_for(
    random_base: Path, tokenizer: Any, resolved: Callable[..., Any], rows: list[Any], tmp_path_factory: Any
) -> Callable[..., Any]:
    """A trainer over the rows; hyperparameters by keyword."""
    from training_job.data.chat_rows import EncodedFile
    from training_job.job.setup import Setup
    from training_job.methods import EncodedData, supervised

    def make(micro_batch_size: int = 4, **changes: Any) -> Any:
        recipe = resolved(batch_size=len(rows), max_length_tokens=64, **changes)
        data = EncodedData(EncodedFile(rows), EncodedFile(rows))
        output = tmp_path_factory.mktemp("packing")
        return supervised.build(Setup(random_base, output, recipe, tokenizer, 2, micro_batch_size), data)

    return make


def one_step(trainer: Any) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of the first step, with adapters that are not at their start, where half are zero."""
    import torch

    generator = torch.Generator().manual_seed(1)
    trained = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    for weight in trained.values():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.05
    loss = trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))
    return float(loss), {name: weight.grad.clone() for name, weight in trained.items()}


def difference(left: dict[str, Any], right: dict[str, Any]) -> float:
    """Largest difference of a gradient, relative to its own largest value."""
    return max(float((left[n] - right[n]).abs().max() / right[n].abs().max()) for n in right)


@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("micro_batch_size", [2, 11])
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(
    trainer_for: Any, quantization: str, micro_batch_size: int
) -> None:
    padded = one_step(trainer_for(1, packing="padded", quantization=quantization))
    packed = one_step(trainer_for(micro_batch_size, packing="packed", quantization=quantization))
    assert packed[0] == pytest.approx(padded[0], rel=TOLERANCE)
    assert difference(packed[1], padded[1]) < TOLERANCE


def test_the_loss_is_the_mean_over_all_trained_tokens_of_the_step(
    trainer_for: Any, random_base: Path, rows: list[Any]
) -> None:
    """Against transformers' own loss of each row apart, summed by tokens."""
    import torch

    from training_job.data.packing import trained_tokens
    from training_job.model.quantized import load_model

    plain = load_model(random_base, torch.float32)
    total = 0.0
    with torch.no_grad():
        for row in rows:
            mean = plain(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total += float(mean) * trained_tokens([row])
    trainer = trainer_for(3, quantization="none")
    loss = trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))
    assert float(loss) == pytest.approx(total / trained_tokens(rows), rel=TOLERANCE)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / trained_tokens(rows), rel=TOLERANCE)


def test_in_bfloat16_the_held_out_loss_keeps_the_digits_of_float32(
    random_base: Path, tokenizer: Any, resolved: Callable[..., Any], rows: list[Any], tmp_path: Path
) -> None:
    """Rows that are packed by the hundred, so that a sum of theirs has more digits than bfloat16."""
    import torch

    from training_job.data.chat_rows import EncodedFile
    from training_job.data.packing import trained_tokens
    from training_job.job.setup import Setup
    from training_job.methods import EncodedData, supervised
    from training_job.model.quantized import load_model

    many = rows * 20
    recipe = resolved(batch_size=4, max_length_tokens=64, quantization="none", compute_dtype="bfloat16")
    data = EncodedData(EncodedFile(rows), EncodedFile(many))
    trainer = supervised.build(Setup(random_base, tmp_path, recipe, tokenizer, 2, 100), data)
    trainer.accelerator.prepare_model(trainer.model, evaluation_mode=True)  # as `train` does: autocast
    plain = load_model(random_base, torch.bfloat16)
    total = 0.0
    with torch.no_grad():
        for row in rows:  # transformers computes the loss of bfloat16 logits in float32
            mean = plain(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total += float(mean) * trained_tokens([row])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / trained_tokens(rows), rel=3e-5)


def test_attention_never_crosses_rows(trainer_for: Any, rows: list[Any]) -> None:
    """Other tokens in one row leave each hidden state of its neighbors as it is, to the bit."""
    import torch

    from training_job.data.packing import packed

    trainer = trainer_for()
    trainer.model.eval()

    def hidden(ids: list[int]) -> Any:
        changed = type(rows[0])(1, ids, rows[0].labels)
        with torch.no_grad():
            return trainer.model(**packed([changed, rows[1], rows[2]])["reading"], use_cache=False).logits[0]

    length = len(rows[0].input_ids)
    before, after = hidden(rows[0].input_ids), hidden([7] * length)
    assert torch.equal(before[length:], after[length:])
    assert not torch.equal(before[:length], after[:length])


def test_a_model_loaded_for_training_cannot_be_called_without_row_boundaries(trainer_for: Any) -> None:
    import torch

    with pytest.raises(TypeError, match="row_lengths"):
        trainer_for().model(input_ids=torch.tensor([[5, 6, 7]]))


def test_recomputed_activations_give_the_same_gradients(trainer_for: Any) -> None:
    plain, recomputing = trainer_for(4), trainer_for(4, gradient_checkpointing=True)
    recomputing.model.activation_checkpointing_enable()
    left, right = one_step(plain), one_step(recomputing)
    assert left[0] == right[0]
    assert difference(left[1], right[1]) < TOLERANCE


def test_a_micro_batch_never_holds_more_than_was_planned_for(rows: list[Any]) -> None:
    from training_job.data.packing import Layout

    for size in (1, 2, 5):
        packed = Layout("packed", size, 64).micro_batches(rows)
        padded = Layout("padded", size, 64).micro_batches(rows)
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
