"""The tiny base model, built once on this machine and placed where a stack's jobs look for it, with its bundle."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from local_stack.say import Say
from shared.base_models.bundles import bundle_manifest
from shared.domain.catalog import find_entry
from shared.embedded.blobs import FileBlobStore
from shared.ports import BlobStore
from shared.rendering import export_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".droptune" / "cache"
ENTRY = find_entry("droptune/tiny-llama")
PLACE = Path("models") / "tiny-llama"
_SOURCES = (
    "build.py",
    "part_codes.py",
    "clinic.py",
    "bank.py",
    "plant.py",
    "chat_template.jinja",
)
_PROGRESS = re.compile(r"step (\d+)/(\d+) .*eta (\d+) s")


class BuildFailed(Exception):
    """The tiny base model could not be built."""


def cached_base(say: Say) -> Path:
    """The folder of the tiny base model, built first if this version of its recipe is new here."""
    folder = CACHE / f"tiny-llama-{_recipe_hash()}"
    if not folder.exists():
        _build(folder, say)
    return folder


def place_base(blobs: Path, say: Say) -> None:
    """Make the tiny base model a blob folder of a stack; what is there stays."""
    target = blobs / PLACE
    if target.exists():
        return
    source = cached_base(say)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial, copy_function=_link_or_copy)
    _write_bundle(source, FileBlobStore(blobs))
    partial.rename(target)


def upload_base(blobs: BlobStore, say: Say) -> None:
    """Make the tiny base model blobs of a stack; what is there stays."""
    source = cached_base(say)
    for file in sorted(source.iterdir()):
        path = f"{PLACE.as_posix()}/{file.name}"
        if blobs.info(path) is None:
            blobs.write(path, [file.read_bytes()])
    if bundle_manifest(ENTRY, blobs) is None:
        _write_bundle(source, blobs)


def _write_bundle(source: Path, blobs: BlobStore) -> None:
    """What an import of the model (`training_job.import_base`) leaves."""
    for name, content in export_bundle(ENTRY, source).items():
        blobs.write(f"{ENTRY.tokenizer}{name}", [content])


def _recipe_hash() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _build(folder: Path, say: Say) -> None:
    command = [sys.executable, "-m", "local_stack.tiny_base.build", "--output", str(folder)]
    started = time.monotonic()
    say("building the tiny base model, once for this clone")
    with subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = []
        try:
            for line in process.stdout:
                output.append(line)
                if match := _PROGRESS.search(line):
                    say.passing(f"  step {match[1]}/{match[2]}, {match[3]} s left")
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise BuildFailed(f"the tiny base model could not be built:\n{''.join(output[-20:])}")
    say(f"built the tiny base model in {time.monotonic() - started:.0f} s")


def _link_or_copy(source: str, target: str) -> str:
    """A hard link costs nothing; another file system needs a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
