"""Supervised training: packed or padded, the same loss and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOLERANCE = 1e-5  # float32: sums in another order


@pytest.fixture(scope="module")
def trainer_for(
    random_base: Path, tokenizer: Any, resolved: Callable[..., Any], encoded_rows: list[Any], tmp_path_factory: Any
) -> Callable[..., Any]:
    """A trainer over the rows; hyperparameters by keyword."""
    from training_job.data.selection import EncodedData
    from training_job.job.setup import Setup
    from training_job.methods import supervised

    def make(micro_batch_size: int = 4, **changes: Any) -> Any:
        recipe = resolved(batch_size=len(encoded_rows), max_length_tokens=64, **changes)
        data = EncodedData(encoded_rows, encoded_rows)
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


@pytest.mark.few_cases(3)
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
    trainer_for: Any, random_base: Path, encoded_rows: list[Any]
) -> None:
    """Against transformers' own loss of each row apart, summed by tokens."""
    import torch

    from training_job.methods.step import trained_tokens
    from training_job.model.quantized import load_model

    plain = load_model(random_base, torch.float32)
    total = 0.0
    with torch.no_grad():
        for row in encoded_rows:
            mean = plain(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total += float(mean) * trained_tokens([row])
    trainer = trainer_for(3, quantization="none")
    loss = trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))
    assert float(loss) == pytest.approx(total / trained_tokens(encoded_rows), rel=TOLERANCE)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / trained_tokens(encoded_rows), rel=TOLERANCE)


def test_in_bfloat16_the_losses_keep_the_digits_of_float32(
    random_base: Path, tokenizer: Any, resolved: Callable[..., Any], encoded_rows: list[Any], tmp_path: Path
) -> None:
    """Rows that are packed by the hundred, so that a sum of theirs has more digits than bfloat16."""
    import torch

    from training_job.data.selection import EncodedData
    from training_job.job.setup import Setup
    from training_job.methods import supervised
    from training_job.methods.step import trained_tokens
    from training_job.model.quantized import load_model

    many = encoded_rows * 20
    recipe = resolved(batch_size=len(many), max_length_tokens=64, quantization="none", compute_dtype="bfloat16")
    data = EncodedData(many, many)
    trainer = supervised.build(Setup(random_base, tmp_path, recipe, tokenizer, 2, 100), data)
    trainer.accelerator.prepare_model(trainer.model, evaluation_mode=True)  # as `train` does: autocast
    plain = load_model(random_base, torch.bfloat16)
    total = 0.0
    with torch.no_grad():
        for row in encoded_rows:  # transformers computes the loss of bfloat16 logits in float32
            mean = plain(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total += float(mean) * trained_tokens([row])
    mean = total / trained_tokens(encoded_rows)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(mean, rel=3e-5)
    assert trainer.model is not None
    step = float(trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader()))))
    assert step == pytest.approx(mean, rel=3e-4)  # the loss of each token is rounded to bfloat16: 4e-3


def test_attention_never_crosses_rows(trainer_for: Any, encoded_rows: list[Any]) -> None:
    """Other tokens in one row leave each hidden state of its neighbors as it is, to the bit."""
    import torch

    from training_job.methods.step import packed

    trainer = trainer_for()
    trainer.model.eval()

    def hidden(ids: list[int]) -> Any:
        changed = type(encoded_rows[0])(1, ids, encoded_rows[0].labels)
        with torch.no_grad():
            return trainer.model(
                **packed([changed, encoded_rows[1], encoded_rows[2]])["reading"], use_cache=False
            ).logits[0]

    length = len(encoded_rows[0].input_ids)
    before, after = hidden(encoded_rows[0].input_ids), hidden([7] * length)
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
