"""Is a mounted base model what the catalog says, and can it be loaded without running its code?

Without torch: of the weights only the headers are read.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from shared.domain.catalog import Architecture, BaseModelEntry
from training_job.job.files import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Formats whose reading runs what they hold (pickle), or that no loader of ours takes.
PICKLED = frozenset({".bin", ".ckpt", ".h5", ".joblib", ".msgpack", ".pickle", ".pkl", ".pt", ".pth"})
LOADED = frozenset({".jinja", ".json", ".safetensors"})
PARTS, PART_BYTES = 256, 4096  # of a file: each matrix of a model of 7 billion parameters holds several
# Field of Architecture -> key of config.json.
_KEYS = {
    "model_type": "model_type",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocab": "vocab_size",
    "tied": "tie_word_embeddings",
}


def objections(entry: BaseModelEntry, folder: Path) -> Iterator[str]:
    """Everything against this folder as the base model of the entry, in plain words."""
    config = read_json(folder / "config.json") or {}
    yield from _code(folder)
    yield from _differences(entry, config)
    yield from _weights(entry, folder)


def content_sha256(folder: Path) -> str:
    """Hash of the files that a base model is loaded from, of large ones in parts: other weights differ in each."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in LOADED):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(PART_BYTES, size // PARTS)):
                file.seek(start)
                digest.update(file.read(PART_BYTES))
    return digest.hexdigest()


def _code(folder: Path) -> Iterator[str]:
    """Files of the folder itself: a loader looks into no folder below it."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICKLED:
            yield f"{file.name} is no safetensors file"
        elif file.suffix == ".py":
            yield f"{file.name} is code"
    for name in ("config.json", "tokenizer_config.json"):
        if (read_json(folder / name) or {}).get("auto_map"):
            yield f"{name} asks for code of its own (auto_map)"


def _differences(entry: BaseModelEntry, config: dict[str, Any]) -> Iterator[str]:
    expected: dict[str, Any] = entry.dims.model_dump()
    # What transformers takes where the file is silent.
    found = {"tie_word_embeddings": False, "num_key_value_heads": config.get("num_attention_heads"), **config}
    found["head_dim"] = config.get("head_dim") or _head_dim(config)
    for field in Architecture.model_fields:
        if found.get(_KEYS[field]) != expected[field]:
            yield f"{_KEYS[field]} is {found.get(_KEYS[field])}, the catalog says {expected[field]}"
    context = found.get("max_position_embeddings") or 0
    if context < entry.context_tokens:
        yield f"max_position_embeddings is {context}, the catalog says {entry.context_tokens}"


def _head_dim(config: dict[str, Any]) -> int | None:
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return hidden // heads if hidden and heads else None


def _weights(entry: BaseModelEntry, folder: Path) -> Iterator[str]:
    """Every shard must be there and as long as its header says; together they hold the catalog's parameters."""
    names = sorted(set((read_json(folder / INDEX) or {}).get("weight_map", {}).values())) or [WEIGHTS]
    parameters, whole = 0, True
    for name in names:
        try:
            parameters += _parameters(folder / name)
        except (OSError, SafetensorError) as error:
            whole = False
            yield f"{name} cannot be read: {type(error).__name__}"
    if whole and parameters != entry.parameters:
        yield f"the weights are {parameters} parameters, the catalog says {entry.parameters}"


def _parameters(file: Path) -> int:
    with safe_open(file, framework="numpy") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
