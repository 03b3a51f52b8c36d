"""Is a mounted base model what the catalog says, loadable without its code? By the heads of its weights, no torch."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from shared.domain.catalog import CONFIG_KEYS, BaseModelEntry, read_architecture, read_context
from training_job.job.files import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Formats whose reading runs what they hold (pickle), or that no loader of ours takes.
PICKLED = frozenset({".bin", ".ckpt", ".h5", ".joblib", ".msgpack", ".pickle", ".pkl", ".pt", ".pth"})
LOADED = frozenset({".jinja", ".json", ".safetensors"})
PARTS, PART_BYTES = 256, 4096  # of a file: what is tuned anew differs in all, one matrix alone may lie between two


def objections(entry: BaseModelEntry, folder: Path) -> Iterator[str]:
    """Everything against this folder as the base model of the entry, in plain words."""
    config = read_json(folder / "config.json") or {}
    yield from _pickled(folder)
    if quantized := config.get("quantization_config"):
        yield f"its weights are quantized already ({quantized.get('quant_method')})"
    if named := config.get("transformers_weights"):
        yield f"its config.json has transformers load {named} (transformers_weights)"
    yield from _differences(entry, config)
    yield from _weights(entry, folder)


def content_sha256(folder: Path) -> str:
    """Hash of the files that a base model is loaded from, of large ones in parts."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in LOADED):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(PART_BYTES, size // PARTS)):
                file.seek(start)
                digest.update(file.read(PART_BYTES))
    return digest.hexdigest()


def _pickled(folder: Path) -> Iterator[str]:
    """Of the folder itself: a loader looks into none below it. Python files are none of them: with
    `trust_remote_code=False` transformers reads no code of a folder, whatever `auto_map` names."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICKLED:
            yield f"{file.name} is no safetensors file"


def _differences(entry: BaseModelEntry, config: dict[str, Any]) -> Iterator[str]:
    expected: dict[str, Any] = entry.dims.model_dump()
    for field, found in read_architecture(config).items():
        if found != expected[field]:
            yield f"{CONFIG_KEYS[field]} is {found}, the catalog says {expected[field]}"
    if (context := read_context(config)) < entry.context_tokens:
        yield f"it reads {context} tokens (max_position_embeddings), the catalog says {entry.context_tokens}"


def weight_files(folder: Path) -> list[Path]:
    """Those that transformers loads: one file if it is there, else the shards of the index."""
    index = {} if (folder / WEIGHTS).is_file() else read_json(folder / INDEX) or {}
    return [folder / name for name in sorted(set(index.get("weight_map", {}).values())) or [WEIGHTS]]


def _weights(entry: BaseModelEntry, folder: Path) -> Iterator[str]:
    """Every shard must be there and as long as its header says; together they hold the catalog's parameters."""
    parameters, whole = 0, True
    for file in weight_files(folder):
        try:
            parameters += _parameters(file)
        except (OSError, SafetensorError) as error:
            whole = False
            yield f"{file.name} cannot be read: {type(error).__name__}"
    if whole and parameters != entry.parameters:
        yield f"the weights are {parameters} parameters, the catalog says {entry.parameters}"


def _parameters(file: Path) -> int:
    with safe_open(file, framework="numpy") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
