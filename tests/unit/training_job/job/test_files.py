"""Model folders as registries keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from shared.domain.errors import PermanentFailure
from tests.paths import ROOT
from training_job.job.files import model_folder, read_json, read_whole_json


@pytest.mark.parametrize("place", ["", "model", "data/model"])
def test_weights_are_found_where_a_registry_model_keeps_them(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    assert model_folder(tmp_path) == folder


@pytest.mark.parametrize(
    ("weights", "tokenizer", "config"),
    [
        ("data/model", "data/tokenizer", "data/config"),
        ("mlflow_model_folder/data/model", "mlflow_model_folder/data/tokenizer", "mlflow_model_folder/data/model"),
        ("model", "components/tokenizer", "model"),
    ],
)
def test_parts_that_a_registry_model_keeps_apart_are_brought_together(
    tmp_path: Path, weights: str, tokenizer: str, config: str
) -> None:
    for place, name in ((weights, "model.safetensors"), (tokenizer, "tokenizer.json"), (config, "config.json")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).write_text(place)
    # As MLflow leaves one beside the weights: those of the model win.
    (tmp_path / tokenizer / "config.json").write_text("of the tokenizer")
    folder = model_folder(tmp_path)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "model.safetensors": weights,
        "tokenizer.json": tokenizer,
        "config.json": config,
    }


@pytest.mark.slow
def test_the_folder_of_such_parts_is_gone_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    for place in ("data/model/config.json", "data/model/model.safetensors", "data/tokenizer/tokenizer.json"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}")
    code = "import sys, pathlib, training_job.job.files as f; print(f.model_folder(pathlib.Path(sys.argv[1])))"
    environ = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    made = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    assert Path(made.strip()).parent == tmp_path / "temporary"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / "data/model/model.safetensors").exists()


def test_a_base_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentFailure, match="no_model_config"):
        model_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"auto_map": ', b'{"auto_map": {}, "x": NaN}', bytes(20)])
def test_a_file_of_a_model_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    """A loader that takes more than we do would find there what was looked for here."""
    path = tmp_path / "tokenizer_config.json"
    assert read_json(path) is None
    path.write_bytes(content)
    with pytest.raises(orjson.JSONDecodeError):
        read_json(path)
    assert read_whole_json(path) is None
