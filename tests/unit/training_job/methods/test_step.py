"""Each option of the recipe through a whole run: trained, merged, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPTIONS: dict[str, dict[str, Any]] = {
    "plain LoRA": {"quantization": "none"},
    "DoRA": {"dora": True},
    "LoRA scaling": {"rslora": False, "lora_alpha": 16},
    "dropout": {"lora_dropout": 0.1},
    "padded": {"packing": "padded", "micro_batch_size": 2},
    "recomputed": {"gradient_checkpointing": True},
    "8-bit moments": {"optimizer": "paged_adamw_8bit"},
    "bfloat16": {"compute_dtype": "bfloat16"},
}
# In `make test` each option is in one of three runs; in `make test-all` it has a run of its own too.
TOGETHER: dict[str, dict[str, Any]] = {
    name: {key: value for option in name.split(" + ") for key, value in OPTIONS[option].items()}
    for name in ("plain LoRA + LoRA scaling + dropout", "DoRA + 8-bit moments + recomputed", "padded + bfloat16")
}
EACH = [*TOGETHER, *(pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS)]


@pytest.mark.few_cases(1)
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU:UserWarning")
@pytest.mark.parametrize("name", EACH)
def test_a_run_with_the_option_ends_with_a_model(
    name: str, bench: Callable[..., Any], resolved: Callable[..., Any], tmp_path: Path
) -> None:
    options = TOGETHER.get(name) or OPTIONS[name]
    run = bench(tmp_path, recipe=resolved(n_epochs=1, total_steps=10, **options))
    assert run.train() == 0
    losses = [point["loss"] for point in run.metrics() if "loss" in point]
    assert losses[-1] < losses[0] - 0.3
    manifest = json.loads((run.output / "model/manifest.json").read_text())
    assert manifest["merge"]["merged_loss"] == pytest.approx(manifest["merge"]["adapter_loss"], abs=0.05)
    config = json.loads((run.output / "model/adapter/adapter_config.json").read_text())
    chosen = resolved(**options).hyperparameters
    found = (config["use_rslora"], config["use_dora"], config["lora_dropout"], config["lora_alpha"])
    assert found == (chosen.rslora, chosen.dora, chosen.lora_dropout, chosen.lora_alpha)


def test_plain_lora_leaves_the_base_as_it_is(random_base: Path, resolved: Any, tokenizer: Any, tmp_path: Path) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    from training_job.job.setup import Setup
    from training_job.methods.step import adapted

    setup = Setup(random_base, tmp_path, resolved(quantization="none"), tokenizer, 1, 1)
    layers = [type(module) for module in adapted(setup, "sdpa")["model"].modules()]
    assert Linear4bit not in layers


def test_every_option_is_in_one_of_the_runs_of_make_test() -> None:
    assert {option for name in TOGETHER for option in name.split(" + ")} == set(OPTIONS)


@pytest.mark.parametrize("steps", [1, 7, 20, 600, 12_345])
def test_checkpoints_and_evaluations_fall_on_log_lines(steps: int) -> None:
    from training_job.methods.step import intervals

    log, save = intervals(steps)
    assert save % log == 0
    assert steps / log <= 120
    assert steps / save <= 10
