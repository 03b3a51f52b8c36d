"""The merged model is the trained one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure


def test_merged_and_adapter_answers_are_compared_and_recorded(finished: Any) -> None:
    manifest = json.loads((finished.output / "model/manifest.json").read_text())
    check = manifest["merge"]
    assert check["rows"] == 8
    assert check["merged_loss"] == pytest.approx(check["adapter_loss"], abs=0.02)
    assert finished.result().metrics.merged_agreement == check["agreement"] >= 0.5


def test_a_merged_model_that_is_not_the_trained_one_fails_the_job(
    finished: Any, tokenizer: Any, resolved: Any, tmp_path: Path
) -> None:
    """The base in the merged model's place: it loads, answers, and never saw the adapter."""
    from shared.rendering.check import LengthPolicy
    from training_job.data.chat_rows import bundle_of, encode_file
    from training_job.job.setup import Setup
    from training_job.model import artifacts

    shutil.copytree(finished.output / "model", tmp_path / "model")
    shutil.rmtree(tmp_path / "model/merged")
    shutil.copytree(finished.base, tmp_path / "model/merged")
    setup = Setup(finished.base, tmp_path, resolved(), tokenizer, 20, 4)
    rows = encode_file(finished.data / "eval.jsonl", bundle_of(tokenizer), LengthPolicy(256, "reject")).rows
    with pytest.raises(PermanentFailure) as caught:
        artifacts.check_merge(setup, rows)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.CODE, "merge_differs")


def test_a_saved_adapter_that_is_not_the_trained_one_fails_the_job(
    finished: Any, tokenizer: Any, resolved: Any, tmp_path: Path
) -> None:
    """An adapter without effect: merged it answers alike, and neither is what training measured."""
    from safetensors.torch import load_file, save_file

    from shared.rendering.check import LengthPolicy
    from training_job.data.chat_rows import bundle_of, encode_file
    from training_job.job.setup import Setup
    from training_job.model import artifacts

    measured = json.loads((finished.output / "model/manifest.json").read_text())["merge"]["adapter_loss"]
    shutil.copytree(finished.output / "model/adapter", tmp_path / "model/adapter")
    weights = tmp_path / "model/adapter/adapter_model.safetensors"
    save_file({name: each * 0 for name, each in load_file(weights).items()}, weights, metadata={"format": "pt"})
    setup = Setup(finished.base, tmp_path, resolved(), tokenizer, 20, 4)
    artifacts.merge(setup)
    rows = encode_file(finished.data / "eval.jsonl", bundle_of(tokenizer), LengthPolicy(256, "reject")).rows
    with pytest.raises(PermanentFailure) as caught:
        artifacts.check_merge(setup, rows, measured)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.CODE, "loss_differs")


@pytest.mark.parametrize(
    ("recorded", "found", "same"),
    [
        *((0.05, 0.149, True), (0.05, 0.151, False), (3.0, 3.29, True), (3.0, 2.69, False)),
        *((0.1, float("nan"), False), (None, 1.0, True), (1.0, None, True)),
    ],
)
def test_losses_are_the_same_within_a_tenth(recorded: float | None, found: float | None, same: bool) -> None:
    from training_job.model.artifacts import require_same_loss

    if same:
        require_same_loss("now", recorded, found)
        return
    with pytest.raises(PermanentFailure) as caught:
        require_same_loss("now", recorded, found)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.CODE, "loss_differs")


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("tokens", "batches"), [(36, [4]), (35, [3, 1]), (20, [2, 2]), (1, [1, 1, 1, 1])])
def test_prompts_are_answered_together_as_far_as_memory_allows_and_as_if_alone(
    tokens: int, batches: list[int], finished: Any, tokenizer: Any, resolved: Any
) -> None:
    import torch

    from training_job.job.setup import Setup
    from training_job.model import artifacts
    from training_job.model.generation import generate
    from training_job.model.quantized import load_model

    read: list[int] = []

    def note(_model: Any, _arguments: Any, named: dict[str, Any]) -> None:
        if named["input_ids"].shape[1] > 1:  # prompts; afterwards a token at a time
            read.append(len(named["input_ids"]))

    model = load_model(finished.output / "model" / "merged", torch.float32).eval()
    prompts = [[1, *range(3, 2 + n)] for n in (9, 2, 5, 7)]
    alone = [generate(model, tokenizer, [prompt], artifacts.PROBE_TOKENS)[0] for prompt in prompts]
    model.register_forward_pre_hook(note, with_kwargs=True)
    setup = Setup(finished.base, finished.output, resolved(), tokenizer, 20, 4)
    assert artifacts.answers_to(prompts, model, setup, tokens) == alone
    assert read == batches
