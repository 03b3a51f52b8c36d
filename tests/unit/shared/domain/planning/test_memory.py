"""The catalog's dimensions against the real architectures, built without weights on the meta device."""

from __future__ import annotations

import json
import os

import pytest

from shared.domain.catalog import CATALOG, BaseModelEntry
from shared.domain.planning.memory import lora_parameters, lora_targets
from tests.paths import ROOT

GOLDEN = ROOT / "tests" / "golden/lora"
OFFERED = [entry for entry in CATALOG.values() if entry.asset]


def build(entry: BaseModelEntry):
    import torch
    import transformers

    dims = entry.dims
    config = transformers.AutoConfig.for_model(
        dims.model_type,
        vocab_size=dims.vocab,
        hidden_size=dims.hidden,
        intermediate_size=dims.intermediate,
        num_hidden_layers=dims.layers,
        num_attention_heads=dims.heads,
        num_key_value_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        tie_word_embeddings=dims.tied,
        pad_token_id=0,
    )
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def adapters(tuned) -> dict[str, tuple[int, int]]:
    return {
        name.rsplit(".", 1)[-1]: (module.lora_A["default"].in_features, module.lora_B["default"].out_features)
        for name, module in tuned.named_modules()
        if hasattr(module, "lora_A")
    }


# peft 0.21 asks transformers 5 for an attribute under its old name.
@pytest.mark.ci
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("entry", OFFERED, ids=lambda entry: entry.id)
def test_adapters_land_on_the_modules_and_have_the_parameters_that_the_plan_counts(entry, torch) -> None:
    import peft

    model = build(entry)
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.device("meta"):
        tuned = peft.get_peft_model(model, config)
    trainable = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    assert adapters(tuned) == lora_targets(entry)
    assert trainable == lora_parameters(entry, 16)

    found = {"targets": lora_targets(entry), "rank": 16, "trainable_parameters": trainable}
    found = json.loads(json.dumps(found))
    path = GOLDEN / f"{entry.id.split('/')[1]}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))
