"""Are the catalogue's base models where jobs will look for them, whole and of one template?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from shared.domain.catalogue import CATALOGUE, BaseModelEntry, find_entry
from shared.domain.checkup import Check, CheckStatus
from shared.ports import BlobStore
from shared.rendering import Bundle, read_exported
from shared.rendering.export import MANIFEST, BundleManifest, read_kept, read_manifest

_DATASTORE, _PATHS = "azureml://datastores/", "/paths/"
TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "config.json", "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


def base_model_checks(blobs: BlobStore, default: str) -> Iterator[Check]:
    """One or two checks per model of the catalogue that may be tuned."""
    for entry in CATALOGUE.values():
        if entry.licence_policy == "allow" and entry.asset is not None:
            folder = _folder(entry.asset)
            yield _weights(entry, folder, blobs, needed=entry.id == default)
            yield _parity(entry, folder, blobs)


def _folder(asset: str) -> str | None:
    """The blob folder of an asset in a datastore, which is a container of the same name; None for a registry's."""
    if not asset.startswith(_DATASTORE):
        return None
    container, _, path = asset.removeprefix(_DATASTORE).partition(_PATHS)
    return f"{container}/{path.rstrip('/')}/"


def exported_bundle(entry: BaseModelEntry, blobs: BlobStore) -> Bundle | None:
    """What was exported of a base model when it was imported; None if it was not.

    Raises PermanentFailure of class recipe `bundle_damaged`.
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
    return next((path.removesuffix(TOKENIZER) for path in bundle_files(entry, blobs) if path.endswith(TOKENIZER)), None)


def base_bundle(base_model: str, blobs: BlobStore) -> Bundle | None:
    """How a base model of the catalogue reads text; None if neither its bundle nor its folder is there.

    Raises PermanentFailure of class recipe: `bundle_damaged`, and as `read_bundle` does.
    """
    folder = bundle_folder(find_entry(base_model), blobs)
    return _bundle(blobs, tuple(bundle_files(find_entry(base_model), blobs).items()), folder) if folder else None


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
    if template_sha256(blobs, folder) is None:
        missing.append("a chat template")
    if missing:
        detail = f"{folder} lacks {', '.join(missing)}"
        fix = f"copy the whole model folder to {folder}; on a laptop `make up` does it"
        return Check(name=name, status=CheckStatus.FIX, detail=detail, fix=fix)
    return Check(name=name, status=CheckStatus.OK, detail=f"whole at {folder}")


def _parity(entry: BaseModelEntry, folder: str | None, blobs: BlobStore) -> Check:
    """What the function would read of a model against what the job reads."""
    name, bundle = f"template {entry.id}", entry.tokenizer
    if bundle is None or next(iter(blobs.list(bundle)), None) is None:
        return Check(name=name, status=CheckStatus.SKIPPED, detail=f"no tokenizer bundle at {bundle}")
    if folder is None or next(iter(blobs.list(folder)), None) is None:
        return Check(name=name, status=CheckStatus.SKIPPED, detail="the base model is not here to compare with")
    unlike = []
    for what, digest in (("chat template", template_sha256), ("tokenizer", _tokenizer_sha256)):
        here, there = digest(blobs, bundle), digest(blobs, folder)
        if here is None or here != there:
            unlike.append(f"{what} {_short(here)} in {bundle}, {_short(there)} in {folder}")
    if unlike:
        fix = f"export the tokenizer of {folder} to {bundle} again"
        return Check(name=name, status=CheckStatus.FIX, detail="; ".join(unlike), fix=fix)
    return Check(name=name, status=CheckStatus.OK, detail="tokenizer and chat template are the base model's")


def template_sha256(blobs: BlobStore, folder: str) -> str | None:
    """Of a model folder's chat template, in a file of its own or in the tokenizer's configuration."""
    text = _read(blobs, f"{folder}{TEMPLATE}")
    if text is None:
        configuration = _read(blobs, f"{folder}{TOKENIZER_CONFIG}")
        template = orjson.loads(configuration).get("chat_template") if configuration else None
        text = template.encode() if isinstance(template, str) else None
    return hashlib.sha256(text).hexdigest() if text else None


def _tokenizer_sha256(blobs: BlobStore, folder: str) -> str | None:
    text = _read(blobs, f"{folder}{TOKENIZER}")
    return hashlib.sha256(text).hexdigest() if text else None


def _read(blobs: BlobStore, path: str) -> bytes | None:
    return b"".join(blobs.read(path)) if blobs.info(path) else None


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "missing"
