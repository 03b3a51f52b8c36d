"""Are the catalog's base models where jobs will look for them, whole and of one template?"""

from collections.abc import Iterator

import orjson

from shared.base_models import bundles
from shared.domain.catalog import BaseModelEntry, every_entry
from shared.domain.errors import PermanentFailure
from shared.health.checks import Check
from shared.ports import BlobStore
from shared.rendering.bundle import read_bundle


def base_model_checks(blobs: BlobStore, default: str) -> Iterator[Check]:
    """One or two checks per model of the catalog that may be tuned."""
    for entry in every_entry():
        if entry.asset is not None:
            folder = bundles.asset_folder(entry.asset)
            yield _weights(entry, folder, blobs, needed=entry.id == default)
            yield _imported(entry, folder, blobs, needed=entry.id == default)


def _weights(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    name = f"base model {entry.id}"
    if folder is None:
        return Check.skipped(name, f"not checked: a job mounts it from {entry.asset}")
    names = {info.path.removeprefix(folder) for info in blobs.list(folder)}
    if not names and not needed:
        return Check.skipped(name, f"nothing at {folder}; only a recipe that names the model needs it")
    missing = [part for part in (bundles.CONFIG, bundles.TOKENIZER) if part not in names]
    if not any(part.endswith(".safetensors") for part in names):
        missing.append("*.safetensors")
    if not _has_template(blobs, folder):
        missing.append("a chat template")
    if missing:
        detail = f"{folder} lacks {', '.join(missing)}"
        fix = f"copy the whole model folder to {folder}; on a laptop `make up` does it"
        return Check.to_fix(name, detail, fix)
    return Check.ok(name, f"whole at {folder}")


def _imported(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    """What the function reads of a model, against what the job reads where that can be seen."""
    name, fix = f"template {entry.id}", f"droptune base-models import {entry.id}"
    try:
        bundle = bundles.exported_bundle(entry, blobs)
    except PermanentFailure as error:
        return Check.to_fix(name, error.problem.message, fix)
    if bundle is None and needed:
        return Check.to_fix(name, f"no tokenizer bundle at {entry.tokenizer}: the model was not imported", fix)
    if bundle is None:
        detail = f"no tokenizer bundle at {entry.tokenizer}; only a recipe that names the model needs it"
        return Check.skipped(name, detail)
    if folder is None:
        return Check.ok(name, f"imported from {entry.asset}")
    try:
        own = read_bundle(lambda file: bundles.read_file(blobs, f"{folder}{file}"), entry.template_arguments)
    except PermanentFailure:
        return Check.skipped(name, "the base model is not here to compare with")
    if own.sha256 != bundle.sha256:
        detail = f"{bundle.sha256[:12]} in {entry.tokenizer}, {own.sha256[:12]} in {folder}"
        return Check.to_fix(name, f"tokenizer or chat template differ: {detail}", fix)
    return Check.ok(name, "tokenizer and chat template are the base model's")


def _has_template(blobs: BlobStore, folder: str) -> bool:
    """In a file of its own, or in the tokenizer's configuration."""
    if bundles.read_file(blobs, f"{folder}{bundles.TEMPLATE}"):
        return True
    return bool(
        orjson.loads(bundles.read_file(blobs, f"{folder}{bundles.TOKENIZER_CONFIG}") or b"{}").get("chat_template")
    )
