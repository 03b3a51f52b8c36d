"""The tokenizer bundle of a base model, as the function app finds it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shared.base_models.bundles import base_bundle, bundle_files, bundle_manifest, exported_bundle
from shared.domain.catalog import CATALOG, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.embedded.blobs import FileBlobStore
from shared.rendering.bundle import export_bundle, read_bundle_folder
from tests.unit.shared.rendering import families

LLAMA = find_entry("meta-llama/Llama-3.1-8B-Instruct")
PLACE = "models/meta-llama/Llama-3.1-8B-Instruct/tokenizer/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = families.write("llama3", tmp_path_factory.mktemp("base") / "model")
    (place / "model.safetensors").write_text("weights")
    return place


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs")


def put(blobs: FileBlobStore, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        blobs.write(f"{PLACE}{name}", [content])


def test_the_function_finds_the_bundle_of_a_base_model_by_its_path(folder: Path, blobs: FileBlobStore) -> None:
    assert (exported_bundle(LLAMA, blobs), bundle_manifest(LLAMA, blobs), bundle_files(LLAMA, blobs)) == (
        None,
        None,
        {},
    )
    put(blobs, export_bundle(LLAMA, folder))
    manifest, bundle = bundle_manifest(LLAMA, blobs), exported_bundle(LLAMA, blobs)
    assert manifest is not None
    assert bundle is not None
    assert (manifest.base_model, manifest.license, manifest.obligations) == (
        LLAMA.id,
        LLAMA.terms.id,
        LLAMA.terms.obligations,
    )
    assert (manifest.asset, manifest.sha256) == (LLAMA.asset, bundle.sha256)
    assert manifest.special_tokens == bundle.special_tokens
    assert manifest.files["tokenizer.json"] == hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert bundle_files(LLAMA, blobs).keys() == {f"{PLACE}{name}" for name in manifest.files}


def test_a_bundle_that_is_still_being_written_is_none(folder: Path, blobs: FileBlobStore) -> None:
    put(blobs, {name: content for name, content in export_bundle(LLAMA, folder).items() if name != "bundle.json"})
    assert exported_bundle(LLAMA, blobs) is None
    assert bundle_files(LLAMA, blobs) == {}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_bundle_whose_files_are_not_those_exported_is_refused(
    folder: Path, blobs: FileBlobStore, name: str, gone: bool
) -> None:
    put(blobs, export_bundle(LLAMA, folder) | ({} if gone else {name: b"{}"}))
    if gone:
        blobs.delete(f"{PLACE}{name}")
    with pytest.raises(PermanentFailure) as caught:
        exported_bundle(LLAMA, blobs)
    assert caught.value.failure_class is FailureClass.RECIPE
    assert caught.value.problem.code == "tokenizer_damaged"
    assert name in caught.value.problem.message


def test_a_base_is_read_with_the_arguments_of_the_catalog_exported_or_not(
    folder: Path, blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find_entry("droptune/tiny-llama").model_copy(update={"template_arguments": {"enable_thinking": False}})
    monkeypatch.setitem(CATALOG, entry.id, entry)
    expected = read_bundle_folder(folder, entry.template_arguments).sha256
    assert expected != read_bundle_folder(folder).sha256
    for place, files in (("models/tiny-llama/", {}), (entry.tokenizer, export_bundle(entry, folder))):
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            blobs.write(f"{place}{name}", [(folder / name).read_bytes()])
        for name, content in files.items():
            blobs.write(f"{place}{name}", [content])
        found = base_bundle(entry.id, blobs)
        assert found is not None
        assert found.sha256 == expected, place
