"""Every architecture of the table, small and with random weights: rows, a step, merge, save, load, generate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain import catalog
from shared.domain.catalog import READINGS, RowReading, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from tests.unit.shared.rendering import families
from training_job import patches

TINY = find_entry("droptune/tiny-llama")
ROPE = {"rope_theta": 500_000.0, "original_max_position_embeddings": 16}
YARN = {**ROPE, "rope_type": "yarn", "factor": 4.0}
LLAMA3 = {**ROPE, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {**ROPE, "rope_type": "longrope", "short_factor": [1.1] * 48, "long_factor": [4.0] * 48}
LONG |= {"original_max_position_embeddings": 4096}
GRANITE = {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22}
# What public configurations switch, beside what transformers takes where a file is silent.
SWITCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama with llama3 rope, tied": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama with biases and heads of 80": (
        "llama",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 80, "hidden_size": 2560, "attention_dropout": 0.1},
    ),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "phi3 with longrope": (
        "phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 4096, "max_position_embeddings": 131_072},
    ),
    "phi3 with longrope on three quarters of a head": (
        "phi3",
        {
            "rope_parameters": {**LONG, "partial_rotary_factor": 0.75},
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 4096,
            "max_position_embeddings": 131_072,
            "hidden_size": 3072,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2 with windows above": ("qwen2", {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 1}),
    "qwen3 with yarn": ("qwen3", {"rope_parameters": YARN}),
    "granite with scaling": ("granite", {**GRANITE, "attention_multiplier": 0.0078125, "attention_dropout": 0.1}),
}
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    kind: (kind, {}) for kind, reading in READINGS.items() if reading.rows
} | SWITCHED


def base_of(folder: Path, kind: str, **changes: Any) -> Path:
    """A folder without weights: they are not looked at."""
    from transformers import AutoConfig

    families.write("qwen", folder)
    AutoConfig.for_model(kind, **changes).to_json_file(folder / "config.json", use_diff=False)
    return folder


def refusal(folder: Path) -> str:
    from training_job.preflight import preflight

    with pytest.raises(PermanentFailure) as caught:
        preflight(TINY, folder)
    failure, problem = caught.value.failure_class, caught.value.problem
    assert (failure, problem.code, problem.param) == (FailureClass.RECIPE, "base_model_unfit", TINY.id)
    return problem.message


@pytest.mark.few_cases(6)
@pytest.mark.parametrize("name", TRAINED)
def test_an_architecture_of_the_table_is_trained_merged_and_loaded_as_transformers_computes_it(
    name: str, libraries: None, tmp_path: Path
) -> None:
    from training_job.preflight import preflight

    kind, changes = TRAINED[name]
    found = preflight(TINY, base_of(tmp_path, kind, **changes))
    assert found.rows == READINGS[kind].rows
    assert found.difference < 1e-4
    assert {"o_proj"} <= set(found.adapted)
    assert ("mlp.experts.gate_up_proj" in found.bare) == (READINGS[kind].adapters != "all-linear")


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("kind", [kind for kind, reading in READINGS.items() if reading.rows == "plain"])
def test_an_architecture_that_needs_plain_rows_is_refused_with_packed_ones(
    kind: str, libraries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = READINGS[kind].model_copy(update={"rows": "packed"})
    monkeypatch.setitem(catalog.READINGS, kind, changed)
    assert refusal(base_of(tmp_path, kind)).startswith("preflight, step: ValueError: ")


def test_a_text_model_that_the_table_refuses_could_not_be_trained(
    libraries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "llama4_text"
    monkeypatch.setitem(catalog.READINGS, kind, RowReading(rows="plain"))
    assert refusal(base_of(tmp_path, kind)).startswith("preflight, step: ")


def drop_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "_window", lambda query, width: None)


def merge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.lora import LoraModel

    monkeypatch.setattr(LoraModel, "merge_and_unload", lambda model, **_: model.unload())


def save_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained

    def without_head(model: Any, folder: Any) -> None:
        merged = model.dtype == torch.bfloat16
        state = model.state_dict()
        save(model, folder, state_dict=state | ({"lm_head.weight": 0 * state["lm_head.weight"]} if merged else {}))

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", without_head)


def forget_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import MistralForCausalLM

    prepare = MistralForCausalLM.prepare_inputs_for_generation

    @functools.wraps(prepare)
    def without_mask(*given: Any, **named: Any) -> Any:
        return prepare(*given, **named) | {"attention_mask": None}

    monkeypatch.setattr(MistralForCausalLM, "prepare_inputs_for_generation", without_mask)


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "step": (drop_window, "differs from transformers' own by"),
    "merge": (merge_nothing, "its logits are others than before"),
    "load": (save_zeros, "its logits are others than before"),
    "generate": (forget_padding, "its logits are others than before"),
}


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("step", FAULTS)
def test_a_fault_of_a_library_is_found_at_its_step(
    step: str, libraries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(tmp_path, "mistral", sliding_window=4096 if step == "step" else None)
    break_it, words = FAULTS[step]
    break_it(monkeypatch)
    message = refusal(base)
    assert message.startswith(f"preflight, {step}: ")
    assert words in message


def test_a_template_that_training_cannot_learn_from_is_refused(libraries: None, tmp_path: Path) -> None:
    base = base_of(tmp_path, "llama")
    (base / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")
    assert refusal(base).startswith("preflight, rows: ")


def test_an_adapter_on_attention_alone_can_be_continued_from(
    libraries: None, resolved: Callable[..., Any], tmp_path: Path
) -> None:
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from training_job.job.checkpoints import MARK, hashes
    from training_job.job.files import write_json
    from training_job.model.quantized import load_adapter, load_model, lora
    from training_job.preflight import shrunk

    base, adapter, values = tmp_path / "base", tmp_path / "adapter", resolved().hyperparameters
    config = AutoConfig.for_model("qwen3_moe")
    AutoModelForCausalLM.from_config(type(config).from_dict(shrunk(config.to_dict()))).save_pretrained(base)
    tuned: Any = get_peft_model(load_model(base, torch.float32), lora(values, "qwen3_moe"))
    tuned.save_pretrained(adapter)
    write_json(adapter / MARK, {"sha256": hashes(adapter), "fixed_loss": 1.0})
    load_adapter(load_model(base, torch.float32), adapter, values)
