"""Are the catalog's base models where jobs will look for them, whole and of one template?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Any, cast

import orjson

from shared.domain.catalog import CATALOG, BaseModelEntry, find_entry
from shared.domain.errors import PermanentFailure
from shared.health.checks import Check, CheckStatus
from shared.ports import BlobStore
from shared.rendering import Bundle, read_bundle, read_exported
from shared.rendering.export import MANIFEST, BundleManifest, read_kept, read_manifest

_DATASTORE, _PATHS = "azureml://datastores/", "/paths/"
TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "config.json", "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


def base_model_checks(blobs: BlobStore, default: str) -> Iterator[Check]:
    """One or two checks per model of the catalog that may be tuned."""
    for entry in CATALOG.values():
        if entry.license_policy == "allow" and entry.asset is not None:
            folder = _folder(entry.asset)
            yield _weights(entry, folder, blobs, needed=entry.id == default)
            yield _imported(entry, folder, blobs, needed=entry.id == default)


def _folder(asset: str) -> str | None:
    """The blob folder of an asset in a datastore, which is a container of the same name; None for a registry's."""
    if not asset.startswith(_DATASTORE):
        return None
    container, _, path = asset.removeprefix(_DATASTORE).partition(_PATHS)
    return f"{container}/{path.rstrip('/')}/"


def exported_bundle(entry: BaseModelEntry, blobs: BlobStore) -> Bundle | None:
    """What was exported of a base model when it was imported; None if it was not.

    Raises PermanentFailure of class recipe `tokenizer_damaged`.
    """
    return read_exported(lambda name: _read(blobs, f"{entry.tokenizer}{name}")) if entry.tokenizer else None


def bundle_manifest(entry: BaseModelEntry, blobs: BlobStore) -> BundleManifest | None:
    """Of the exported bundle; None if there is none."""
    return read_manifest(_read(blobs, f"{entry.tokenizer}{MANIFEST}")) if entry.tokenizer else None


def bundle_files(entry: BaseModelEntry, blobs: BlobStore) -> dict[str, str]:
    """Path and etag of the files that say how a base model reads text: its bundle's, else its own; empty if neither."""
    if (manifest := bundle_manifest(entry, blobs)) is not None:
        return _etags(blobs, [f"{entry.tokenizer}{name}" for name in manifest.files])
    folder = _folder(entry.asset) if entry.asset else None
    if folder is None or blobs.info(f"{folder}{TOKENIZER}") is None:
        return {}
    return _etags(blobs, [f"{folder}{name}" for name in (TOKENIZER, TOKENIZER_CONFIG, TEMPLATE)])


def bundle_folder(entry: BaseModelEntry, blobs: BlobStore) -> str | None:
    """The blob folder those files are in, with its slash."""
    return _folder_of(bundle_files(entry, blobs))


def _folder_of(files: dict[str, str]) -> str | None:
    return next((path.removesuffix(TOKENIZER) for path in files if path.endswith(TOKENIZER)), None)


def base_bundle(base_model: str, blobs: BlobStore) -> Bundle | None:
    """How a base model of the catalog reads text; None if neither its bundle nor its folder is there.

    Raises PermanentFailure of class recipe: `tokenizer_damaged`, and as `read_bundle` does.
    """
    files = bundle_files(find_entry(base_model), blobs)
    folder = _folder_of(files)
    return _bundle(cast(Hashable, blobs), tuple(files.items()), folder) if folder else None


@lru_cache(maxsize=2)
def _bundle(blobs: Any, files: tuple[tuple[str, str], ...], folder: str) -> Bundle:
    """By store, path and etag of its files: a tokenizer of a hundred thousand words takes a second to load."""
    return read_kept(lambda name: _read(blobs, f"{folder}{name}"))


def _etags(blobs: BlobStore, paths: list[str]) -> dict[str, str]:
    return {path: info.etag for path in paths if (info := blobs.info(path))}


def _weights(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    name = f"base model {entry.id}"
    if folder is None:
        detail = f"not checked: a job mounts it from {entry.asset}"
        return Check(name=name, status=CheckStatus.SKIPPED, detail=detail)
    names = {info.path.removeprefix(folder) for info in blobs.list(folder)}
    if not names and not needed:
        detail = f"nothing at {folder}; only a recipe that names the model needs it"
        return Check(name=name, status=CheckStatus.SKIPPED, detail=detail)
    missing = [part for part in (CONFIG, TOKENIZER) if part not in names]
    if not any(part.endswith(".safetensors") for part in names):
        missing.append("*.safetensors")
    if not _has_template(blobs, folder):
        missing.append("a chat template")
    if missing:
        detail = f"{folder} lacks {', '.join(missing)}"
        fix = f"copy the whole model folder to {folder}; on a laptop `make up` does it"
        return Check(name=name, status=CheckStatus.FIX, detail=detail, fix=fix)
    return Check(name=name, status=CheckStatus.OK, detail=f"whole at {folder}")


def _imported(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    """What the function reads of a model, against what the job reads where that can be seen."""
    name, fix = f"template {entry.id}", f"droptune base-models import {entry.id}"
    try:
        bundle = exported_bundle(entry, blobs)
    except PermanentFailure as error:
        return Check(name=name, status=CheckStatus.FIX, detail=error.problem.message, fix=fix)
    if bundle is None and needed:
        detail = f"no tokenizer bundle at {entry.tokenizer}: the model was not imported"
        return Check(name=name, status=CheckStatus.FIX, detail=detail, fix=fix)
    if bundle is None:
        detail = f"no tokenizer bundle at {entry.tokenizer}; only a recipe that names the model needs it"
        return Check(name=name, status=CheckStatus.SKIPPED, detail=detail)
    if folder is None:
        return Check(name=name, status=CheckStatus.OK, detail=f"imported from {entry.asset}")
    try:
        own = read_bundle(lambda file: _read(blobs, f"{folder}{file}"))
    except PermanentFailure:
        return Check(name=name, status=CheckStatus.SKIPPED, detail="the base model is not here to compare with")
    if own.sha256 != bundle.sha256:
        detail = f"{_short(bundle.sha256)} in {entry.tokenizer}, {_short(own.sha256)} in {folder}"
        return Check(name=name, status=CheckStatus.FIX, detail=f"tokenizer or chat template differ: {detail}", fix=fix)
    return Check(name=name, status=CheckStatus.OK, detail="tokenizer and chat template are the base model's")


def _has_template(blobs: BlobStore, folder: str) -> bool:
    """In a file of its own, or in the tokenizer's configuration."""
    if _read(blobs, f"{folder}{TEMPLATE}"):
        return True
    return bool(orjson.loads(_read(blobs, f"{folder}{TOKENIZER_CONFIG}") or b"{}").get("chat_template"))


def _read(blobs: BlobStore, path: str) -> bytes | None:
    return b"".join(blobs.read(path)) if blobs.info(path) else None


def _short(digest: str) -> str:
    return digest[:12]
