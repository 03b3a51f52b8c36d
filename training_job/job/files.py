"""Small file helpers: writes that are whole or absent."""

import atexit
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from shared.domain.errors import FailureClass, PermanentFailure

ADAPTER_FILE = "adapter_model.safetensors"  # PEFT's name for it


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file, the new one, or none; never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def sync(*files: Path) -> None:
    """Wait until they are on the disk."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if it is not there."""
    return orjson.loads(path.read_bytes()) if path.exists() else None


def read_whole_json(path: Path) -> Any:
    """What is asked for again where there is nothing: None also if it was cut or spoiled since."""
    with suppress(orjson.JSONDecodeError):
        return read_json(path)
    return None


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one line of JSON in one write."""
    with path.open("ab") as file:
        file.write(orjson.dumps(content) + b"\n")


def sha256_of(*paths: Path) -> str:
    """Hash over the contents of several files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Replace a JSONL file at once."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    partial.replace(path)


def model_folder(asset: Path) -> Path:
    """Where a model asset keeps configuration, weights and tokenizer. Azure's registries part them:
    `data/{config,model,tokenizer}`, or `model` and `components/tokenizer` (Azure/azureml-assets). Then one folder links
    to them. Raises PermanentFailure `no_model_config`."""
    config = _folder_of(asset, "config.json")
    if config is None:
        raise PermanentFailure(FailureClass.PLATFORM, "no_model_config", f"no config.json in {asset.name}")
    weights = _folder_of(asset, "*.safetensors") or config
    config = weights if (weights / "config.json").is_file() else config
    tokenizer = _folder_of(weights, "tokenizer.json") or _folder_of(asset, "tokenizer.json") or weights
    if config == tokenizer == weights:
        return weights
    together = Path(tempfile.mkdtemp(prefix="base-model-"))
    atexit.register(shutil.rmtree, together, ignore_errors=True)
    parts = [*tokenizer.iterdir(), config / "config.json", *weights.iterdir()]
    for name, file in {file.name: file for file in parts if file.is_file()}.items():
        (together / name).symlink_to(file.resolve())
    return together


def _folder_of(place: Path, pattern: str) -> Path | None:
    """The folder of the file that lies least deep; None if there is no such file."""
    found = min(place.rglob(pattern), key=lambda path: len(path.parts), default=None)
    return found.parent if found else None
