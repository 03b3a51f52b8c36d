"""The tiny base model as it is shipped in `weights/`: checked, and placed where a stack's jobs look for it.

`weights/manifest.json` holds the SHA-256 of each file and of the sources that built them. After a change of a source:

    python -m local_stack.tiny_base.build --output local_stack/tiny_base/weights
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from shared.base_models.bundles import bundle_manifest
from shared.domain.catalog import find_entry
from shared.ports import BlobStore
from shared.rendering.bundle import export_bundle

WEIGHTS = Path(__file__).with_name("weights")
MANIFEST = "manifest.json"
ENTRY = find_entry("droptune/tiny-llama")
PLACE = "models/tiny-llama"
SOURCES = ("build.py", "dialogues.py", "words.toml", "chat_template.jinja")


class BaseModelDamaged(Exception):
    """A file of the shipped model is missing, or is not the one that was built."""


def shipped_base(folder: Path = WEIGHTS) -> Path:
    """The folder of the tiny base model. Raises BaseModelDamaged if a file differs from the manifest."""
    if not (folder / MANIFEST).is_file():
        raise BaseModelDamaged(f"{folder} holds no build; make one: python -m local_stack.tiny_base.build --output DIR")
    for name, expected in read_manifest(folder)["files"].items():
        file = folder / name
        if not file.is_file() or _sha256(file) != expected:
            raise BaseModelDamaged(f"{file} is missing or changed; restore it: git checkout -- {file}")
    return folder


def place_base(blobs: BlobStore, folder: Path) -> None:
    """Write a tiny base model and its exported bundle into a stack's blobs; files that are there stay."""
    source = shipped_base(folder)
    for name in read_manifest(source)["files"]:
        path = f"{PLACE}/{name}"
        if blobs.info(path) is None:
            blobs.write(path, [(source / name).read_bytes()])
    if bundle_manifest(ENTRY, blobs) is None:
        # What an import of the model (`training_job.import_base`) writes.
        for name, content in export_bundle(ENTRY, source).items():
            blobs.write(f"{ENTRY.tokenizer}{name}", [content])


def read_manifest(folder: Path) -> dict[str, Any]:
    """`{"sources": SHA-256, "files": {name: SHA-256}}`."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def write_manifest(folder: Path) -> None:
    """Record the sources and files of a model that was just built."""
    files = {file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    body = {"sources": sources_sha256(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def sources_sha256() -> str:
    """Of everything that decides what a build makes, library versions apart."""
    return hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)).hexdigest()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
