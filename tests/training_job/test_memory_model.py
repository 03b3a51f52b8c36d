"""The memory model against what autograd really keeps, counted on a CPU: shapes and types are those of a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.domain.catalogue import Architecture, BaseModelEntry, find_entry
from shared.domain.planning import lora_parameters, memory_plan
from shared.domain.recipe import ResolvedHyperparameters

TOKENS, RANK = 256, 16
SMALL = {"hidden": 512, "layers": 3, "heads": 4, "kv_heads": 1, "head_dim": 128, "intermediate": 1792, "vocab": 320}
BASES = {"llama": "meta-llama/Llama-3.1-8B-Instruct", "phi3": "microsoft/Phi-4"}


def small_entry(kind: str) -> BaseModelEntry:
    architecture = Architecture.model_validate({"model_type": kind, **SMALL})
    return find_entry(BASES[kind]).model_copy(update={"architecture": architecture, "parameters": 10**9})


def small_model(folder: Path, kind: str, dtype: Any, quantise: bool) -> Any:
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    from training_job import attention
    from training_job.quantised import adapters_to_float32, load_model

    name = {"llama": "Llama", "phi3": "Phi3"}[kind]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=SMALL["vocab"],
        hidden_size=SMALL["hidden"],
        intermediate_size=SMALL["intermediate"],
        num_hidden_layers=SMALL["layers"],
        num_attention_heads=SMALL["heads"],
        num_key_value_heads=SMALL["kv_heads"],
        head_dim=SMALL["head_dim"],
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
    base = load_model(folder, dtype, quantise=quantise, attention=attention.NAME)
    adapter = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, adapter, autocast_adapter_dtype=False)
    adapters_to_float32(model)
    return model.train()


def kept_bytes(model: Any, dtype: Any) -> int:
    """Bytes of all tensors that one forward pass saves, each storage once, the model's own left out."""
    import torch

    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    reading = {"input_ids": torch.arange(3, 3 + TOKENS).view(1, -1) % 320, "row_lengths": [TOKENS]}
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), mixed:
        alive = model(**reading, use_cache=False)
    assert alive.logits.requires_grad
    return sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in own)


@pytest.mark.parametrize("kind", ["llama", "phi3"])
@pytest.mark.parametrize("dtype_name", ["bfloat16", "float32"])
@pytest.mark.parametrize("quantisation", ["nf4", "none"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_plan_counts_the_activations_that_are_kept(
    kind: str, dtype_name: str, quantisation: str, checkpointing: bool, tmp_path: Path
) -> None:
    import torch

    dtype = getattr(torch, dtype_name)
    entry, model = small_entry(kind), small_model(tmp_path, kind, dtype, quantisation == "nf4")
    if checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    hyperparameters = ResolvedHyperparameters(
        n_epochs=1,
        batch_size=1,
        micro_batch_size=1,
        learning_rate=1e-4,
        lora_rank=RANK,
        lora_alpha=32,
        max_length_tokens=TOKENS,
        total_steps=1,
        gradient_checkpointing=checkpointing,
        compute_dtype=dtype_name,
        seed=1,
        quantisation=quantisation,
    )
    planned = memory_plan(entry, hyperparameters).activations_bytes
    if checkpointing:  # the layer that is computed again lives only in the backward pass
        planned = TOKENS * SMALL["layers"] * SMALL["hidden"] * (2 if dtype_name == "bfloat16" else 4)
    else:  # the plan counts these copies with the adapters
        planned += lora_parameters(entry, RANK) * 2 * (dtype_name == "bfloat16")
    ends = 4 * SMALL["hidden"] * TOKENS  # around the layers: embeddings and last norm, at most
    assert planned <= kept_bytes(model, dtype) * 1.02
    assert kept_bytes(model, dtype) <= planned * 1.02 + ends
