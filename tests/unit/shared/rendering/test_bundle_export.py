"""A base model's tokenizer bundle as it is kept: the model's own files, and a manifest that marks it whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.domain.catalog import find_entry
from shared.domain.errors import PermanentFailure
from shared.rendering.bundle import export_bundle, read_bundle_folder, read_exported
from tests.unit.shared.rendering import families

LLAMA = find_entry("meta-llama/Llama-3.1-8B-Instruct")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = families.write("llama3", tmp_path_factory.mktemp("base") / "model")
    (place / "model.safetensors").write_text("weights")
    return place


def test_the_manifest_comes_last_and_says_what_the_bundle_is(folder: Path) -> None:
    files = export_bundle(LLAMA, folder)
    assert list(files) == ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "bundle.json"]
    original = read_bundle_folder(folder)
    read = read_exported(files.get)
    assert read is not None
    assert (read.sha256, read.special_tokens) == (original.sha256, original.special_tokens)


def test_a_model_without_a_chat_template_is_not_exported(folder: Path, tmp_path: Path) -> None:
    place = families.write("llama3", tmp_path / "base")
    (place / "chat_template.jinja").unlink()
    with pytest.raises(PermanentFailure) as caught:
        export_bundle(LLAMA, place)
    assert caught.value.problem.code == "no_chat_template"
