"""A base model's tokenizer bundle as it is kept apart from the model: for those who never see its weights.

`models/<base>/tokenizer/` holds the model's own files, unchanged, and `bundle.json`, which is written last: a bundle
without it is not whole.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from shared.domain.catalog import BaseModelEntry, TemplateArguments, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.model import Lenient
from shared.domain.upgrades import read_file
from shared.rendering.bundle import CONFIG, TEMPLATE, TOKENIZER, Bundle, read_bundle

MANIFEST = "bundle.json"
_LICENSE_FILE = re.compile(r"(licen[cs]e|notice|copying|use_policy)(?![a-z]).*", re.IGNORECASE)


class BundleManifest(Lenient):
    """What the bundle is and of which model. The hashes are `Bundle.sha256` and `Bundle.template_sha256`."""

    base_model: str = Field(description="catalog id")
    asset: str | None = Field(description="URI it was exported from")
    license: str
    obligations: tuple[str, ...] = Field(description="what the license asks of the model's user")
    sha256: str
    template_sha256: str
    special_tokens: tuple[str, ...]
    template_arguments: TemplateArguments = {}
    files: dict[str, str] = Field(description="SHA-256 of each file by its name")
    license_files: dict[str, str] = Field(default={}, description="the same of license files in the model's folder")


def export_bundle(entry: BaseModelEntry, folder: Path) -> dict[str, bytes]:
    """The bundle's files by name, of a model's folder, in the order to write them: the manifest comes last.

    Raises as `read_bundle` does.
    """
    names = (TOKENIZER, CONFIG, TEMPLATE)
    files = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    bundle = read_bundle(files.get, entry.template_arguments)
    manifest = BundleManifest(
        base_model=entry.id,
        asset=entry.asset,
        license=entry.terms.id,
        obligations=entry.terms.obligations,
        sha256=bundle.sha256,
        template_sha256=bundle.template_sha256,
        special_tokens=bundle.special_tokens,
        template_arguments=entry.template_arguments,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        license_files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in license_files(folder)},
    )
    return {**files, MANIFEST: manifest.model_dump_json(indent=2).encode()}


def license_files(folder: Path) -> list[Path]:
    """Those of a model's folder, which go with copies of the model."""
    return sorted(file for file in folder.iterdir() if file.is_file() and _LICENSE_FILE.fullmatch(file.name))


def read_exported(read: Callable[[str], bytes | None]) -> Bundle | None:
    """The exported bundle whose files `read` gives by name; None if it does not exist or is incomplete.

    Raises PermanentFailure of class recipe: `tokenizer_damaged` if its files are not those of its manifest.
    """
    manifest = read_manifest(read(MANIFEST))
    if manifest is None:
        return None
    files = {name: read(name) for name in manifest.files}
    for name, sha256 in manifest.files.items():
        if hashlib.sha256(files[name] or b"").hexdigest() != sha256:
            again = f"import {manifest.base_model} again"
            message = f"{name} of the tokenizer bundle is not the one that was exported: {again}"
            raise PermanentFailure(FailureClass.RECIPE, "tokenizer_damaged", message, "base_model")
    return read_bundle(files.get, manifest.template_arguments)


def read_kept(read: Callable[[str], bytes | None], base_model: str) -> Bundle:
    """An exported bundle, or the model's own folder where nothing was exported. Raises as both readers do."""
    return read_exported(read) or read_bundle(read, find_entry(base_model).template_arguments)


def read_manifest(content: bytes | None) -> BundleManifest | None:
    """Manifest of `bundle.json`; None if it does not exist."""
    return read_file(BundleManifest, content) if content is not None else None
