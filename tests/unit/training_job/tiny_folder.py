"""The tiny base model's folder in every shape and none of its weights: made in no time, without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from shared.domain.catalog import find_entry
from tests.unit.shared.rendering import families

TINY = find_entry("droptune/tiny-llama")
CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 320,
    "vocab_size": TINY.dims.vocab,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}


def zeros(count: int) -> np.ndarray[Any, Any]:
    rows = math.gcd(count, 128)
    return np.zeros((rows, count // rows), dtype=np.float16)


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    hidden, inner = 128, 320
    layer = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden], "mlp.down_proj": [hidden, inner]}
    layer |= {f"self_attn.{name}_proj": [hidden, hidden] for name in "qkvo"}
    layer |= {f"mlp.{name}_proj": [inner, hidden] for name in ("gate", "up")}
    shapes = {f"layers.{n}.{name}": shape for n in range(2) for name, shape in layer.items()}
    shapes |= {"embed_tokens": [TINY.dims.vocab, hidden], "norm": [hidden]}
    return {f"model.{name}.weight": np.zeros(shape, np.float16) for name, shape in shapes.items()}


def write_folder(folder: Path) -> Path:
    families.write("qwen", folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors(), folder / "model.safetensors")
    return folder
