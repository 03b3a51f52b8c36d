from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local_stack.tiny_base.shipped import (
    ENTRY,
    MANIFEST,
    PLACE,
    WEIGHTS,
    BaseModelDamaged,
    place_base,
    read_manifest,
    shipped_base,
    sources_sha256,
)
from shared.base_models.bundles import bundle_manifest
from shared.embedded.blobs import FileBlobStore


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))


def test_the_shipped_model_was_built_from_the_sources_as_they_are() -> None:
    assert read_manifest(WEIGHTS)["sources"] == sources_sha256(), (
        "a source of the tiny base model changed; build it again and commit the result: "
        "python -m local_stack.tiny_base.build --output local_stack/tiny_base/weights"
    )


def test_the_manifest_lists_every_file_of_the_folder() -> None:
    assert {file.name for file in WEIGHTS.iterdir()} == {*read_manifest(WEIGHTS)["files"], MANIFEST}


def test_an_unchanged_folder_passes_its_check(copy: Path) -> None:
    assert shipped_base(copy) == copy


def test_a_changed_file_is_refused_by_name_with_its_remedy(copy: Path) -> None:
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BaseModelDamaged, match=r"model\.safetensors is missing or changed.*git checkout"):
        shipped_base(copy)


def test_a_missing_file_is_refused_by_name(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(BaseModelDamaged, match=r"tokenizer\.json is missing"):
        shipped_base(copy)


def test_the_model_and_its_bundle_become_blobs_and_a_file_that_is_there_stays(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write(f"{PLACE}/config.json", [b"my own"])
    place_base(blobs, WEIGHTS)
    assert b"".join(blobs.read(f"{PLACE}/config.json")) == b"my own"
    assert (tmp_path / PLACE / "model.safetensors").read_bytes() == (WEIGHTS / "model.safetensors").read_bytes()
    bundle = bundle_manifest(ENTRY, blobs)
    assert bundle is not None
    for name, expected in bundle.files.items():
        assert read_manifest(WEIGHTS)["files"][name] == expected
