"""A folder whose weights are not those of its model is imported by nobody and loaded by no job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shared.domain.errors import FailureClass, PermanentFailure
from tests.unit.training_job.imported import left, refusal
from tests.unit.training_job.tiny_folder import write_folder

Tensors = dict[str, Any]
NORM = "model.layers.1.input_layernorm.weight"
UP = "model.layers.0.mlp.up_proj.weight"
NORMS = [f"model.layers.{n}.{name}_layernorm.weight" for n in (0, 1) for name in ("input", "post_attention")]


def renamed(change: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {change(name): tensor for name, tensor in tensors.items()}


def put(name: str, tensor: np.ndarray[Any, Any]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: tensor}


NOT_A_NUMBER = np.array([np.nan, *[0.0] * 127], np.float16)
WRONG: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "of a model with images": (
        renamed(lambda name: f"language_model.{name}"),
        "21 missing, as lm_head.weight, model.embed_tokens.weight, model.layers.0.input_layernorm.weight; 20 "
        "unexpected, as language_model.model.embed_tokens.weight, "
        "language_model.model.layers.0.input_layernorm.weight, language_model.model.layers.0.mlp.down_proj.weight",
    ),
    "norms": (
        renamed(lambda name: name.replace("layernorm", "ln")),
        f"4 missing, as {', '.join(NORMS[:3])}; 4 unexpected, as {', '.join(NORMS[:3]).replace('layernorm', 'ln')}",
    ),
    "one is missing": (
        lambda tensors: {name: tensor for name, tensor in tensors.items() if name != UP},
        f"1 missing, as {UP}",
    ),
    "one is too many": (put("model.layers.2.bias", np.zeros(1)), "1 unexpected, as model.layers.2.bias"),
    "transposed": (
        put(UP, np.zeros((128, 320), np.float16)),
        f"1 of another shape, as {UP} [128, 320] in place of [320, 128]",
    ),
    "no number": (put(NORM, NOT_A_NUMBER), f"1 with NaN or infinity, as {NORM}"),
    "no numbers": (put(UP, np.full((320, 128), np.inf, np.float16)), f"1 with NaN or infinity, as {UP}"),
}  # fmt: skip
RIGHT: dict[str, Callable[[Tensors], Tensors]] = {
    "as saved": dict,
    "of the decoder alone": renamed(lambda name: name.removeprefix("model.")),
    "tied and both there": lambda tensors: {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]},
    "tied and the other there": renamed(lambda name: name.replace("model.embed_tokens", "lm_head")),
    "with what older versions saved": put("model.layers.0.self_attn.rotary_emb.inv_freq", np.zeros(16)),
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "asset" / "model")


def changed(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_are_not_those_of_the_model_are_named(name: str, libraries: None, base: Path) -> None:
    from training_job.model.weights import require_weights

    change, message = WRONG[name]
    with pytest.raises(PermanentFailure) as caught:
        require_weights(changed(base, change))
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.RECIPE, "base_model_unfit")
    assert caught.value.problem.message == f"its weights are not those of its config.json: {message}"


@pytest.mark.parametrize("name", RIGHT)
def test_weights_that_transformers_takes_for_those_of_the_model_are_right(
    name: str, libraries: None, base: Path
) -> None:
    from training_job.model.weights import require_weights

    require_weights(changed(base, RIGHT[name]))


def test_they_are_refused_at_import(base: Path) -> None:
    change, message = WRONG["norms"]
    assert refusal(changed(base, change)).endswith(message)
    assert left(base) == {}


@pytest.mark.parametrize("quantize", [True, False])
def test_no_job_loads_them(quantize: bool, libraries: None, base: Path) -> None:
    import torch

    from training_job.model.quantized import load_model

    for name in ("of a model with images", "norms"):
        with pytest.raises(PermanentFailure) as caught:
            load_model(changed(write_folder(base), WRONG[name][0]), torch.float32, quantize=quantize)
        assert caught.value.problem.code == "base_model_unfit"
