"""The model that is deployed is the one that was evaluated: any write to one of its files is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.domain import paths
from shared.domain.errors import PermanentFailure
from shared.domain.run import Run
from shared.ports import BlobStore, Services
from shared.step_support.candidate import model_sha256, require_same_model

CHANGES: dict[str, Callable[[BlobStore, str], object]] = {
    "other weights of the same size": lambda blobs, folder: blobs.write(f"{folder}/model.safetensors", [b"WEIGHTS"]),
    "the same weights written again": lambda blobs, folder: blobs.write(f"{folder}/model.safetensors", [b"weights"]),
    "another file": lambda blobs, folder: blobs.write(f"{folder}/chat_template.jinja", [b"{{ evil }}"]),
    "a file in a folder": lambda blobs, folder: blobs.write(f"{folder}/a/b.json", [b"{}"]),
    "the adapter": lambda blobs, folder: blobs.write(f"{folder.removesuffix('merged')}adapter/a", [b"{}"]),
    "no file": lambda blobs, folder: blobs.delete(f"{folder}/config.json"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_model_after_its_evaluation_began_is_refused(
    prepared: Run, services: Services, change: Callable[[BlobStore, str], object]
) -> None:
    folder = paths.run(prepared.id, "model/merged")
    services.blobs.write(f"{folder}/model.safetensors", [b"weights"])
    services.blobs.write(f"{folder}/config.json", [b"{}"])
    run = prepared.evolve(model_sha256=model_sha256(prepared, services.blobs))
    services.blobs.write(f"{paths.run(prepared.id, 'model')}-of-another/config.json", [b"{}"])
    require_same_model(run, services.blobs)
    change(services.blobs, folder)
    with pytest.raises(PermanentFailure, match="model_changed"):
        require_same_model(run, services.blobs)


def test_a_run_of_an_earlier_version_has_no_hash_to_compare(prepared: Run, services: Services) -> None:
    require_same_model(prepared, services.blobs)
