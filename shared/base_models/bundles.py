"""How a base model reads text: the tokenizer and chat template exported at its import, or those of its own folder."""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

from shared.domain.catalog import BaseModelEntry, find_entry
from shared.ports import BlobStore
from shared.rendering.bundle import MANIFEST, Bundle, BundleManifest, read_exported, read_kept, read_manifest

_DATASTORE, _PATHS = "azureml://datastores/", "/paths/"
TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "config.json", "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


def asset_folder(asset: str) -> str | None:
    """The blob folder of an asset in a datastore, which is a container of the same name; None for a registry's."""
    if not asset.startswith(_DATASTORE):
        return None
    container, _, path = asset.removeprefix(_DATASTORE).partition(_PATHS)
    return f"{container}/{path.rstrip('/')}/"


def exported_bundle(entry: BaseModelEntry, blobs: BlobStore) -> Bundle | None:
    """What was exported of a base model when it was imported; None if it was not.

    Raises PermanentFailure of class recipe `tokenizer_damaged`.
    """
    return read_exported(lambda name: read_file(blobs, f"{entry.tokenizer}{name}")) if entry.tokenizer else None


def bundle_manifest(entry: BaseModelEntry, blobs: BlobStore) -> BundleManifest | None:
    """The manifest of the exported bundle; None if it was not exported."""
    return read_manifest(read_file(blobs, f"{entry.tokenizer}{MANIFEST}")) if entry.tokenizer else None


def bundle_files(entry: BaseModelEntry, blobs: BlobStore) -> dict[str, str]:
    """Path and etag of the files that say how a base model reads text: its bundle's, else its own; empty if neither."""
    if (manifest := bundle_manifest(entry, blobs)) is not None:
        return _etags(blobs, [f"{entry.tokenizer}{name}" for name in manifest.files])
    folder = asset_folder(entry.asset) if entry.asset else None
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
    return _bundle(cast(Hashable, blobs), tuple(files.items()), folder, base_model) if folder else None


@lru_cache(maxsize=2)
def _bundle(blobs: Any, files: tuple[tuple[str, str], ...], folder: str, base_model: str) -> Bundle:
    """By store, path and etag of its files: a tokenizer of a hundred thousand words takes a second to load."""
    return read_kept(lambda name: read_file(blobs, f"{folder}{name}"), base_model)


def _etags(blobs: BlobStore, paths: list[str]) -> dict[str, str]:
    return {path: info.etag for path in paths if (info := blobs.info(path))}


def read_file(blobs: BlobStore, path: str) -> bytes | None:
    """None if absent."""
    return b"".join(blobs.read(path)) if blobs.info(path) else None
