"""The base model of a demo: the tiny one, or another that a laptop can tune, from a folder or the Hugging Face Hub."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli.client import Api
from cli.operate import import_ended, own_entry, own_policy
from local_stack.demo.prepare import TINY, DemoFailed
from local_stack.tiny_base.shipped import WEIGHTS
from shared.base_models.bundles import asset_folder
from shared.domain.catalog import CATALOG, BaseModelEntry, read_architecture
from shared.ports import BlobStore

FILES = ["*.json", "*.safetensors", "*.jinja", "LICENSE*"]
CHUNK_BYTES = 2**20
UNREVIEWED = {
    "id": "LicenseRef-unreviewed",
    "policy": "review",
    "obligations": ["Nobody has read this model's license: read it before you accept it."],
}


@dataclass(frozen=True)
class DemoBase:
    """`id` in the catalog, or of a model of one's own; its folder."""

    id: str
    folder: Path

    @property
    def tiny(self) -> Path:
        """The build of the tiny base that the stack gets at its start."""
        return self.folder if self.id == TINY else WEIGHTS


def demo_base(given: str) -> DemoBase:
    """Of a folder, or the id of a model of the catalog, which is fetched at its pinned revision. Raises DemoFailed."""
    folder = Path(given)
    if not folder.is_dir():
        return DemoBase(given, _fetched(given))
    try:
        found = read_architecture(json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError) as error:
        raise DemoFailed(f"{folder} is no folder of a base model: {error}") from error
    known = (entry.id for entry in _small() if entry.dims.model_dump() == found)
    return DemoBase(next(known, f"local/{folder.resolve().name}"), folder)


def _small() -> list[BaseModelEntry]:
    return [entry for entry in CATALOG.values() if entry.accelerator == "cpu" and entry.architecture]


def _fetched(id: str) -> Path:
    entry = CATALOG.get(id)
    if entry is None or entry.accelerator != "cpu" or entry.revision is None:
        offered = ", ".join(one.id for one in _small() if one.revision)
        raise DemoFailed(f"BASE={id} is no folder and none of the models that a laptop tunes: {offered}")
    from huggingface_hub import snapshot_download

    print(f"{id} at {entry.revision[:12]}: from the cache of Hugging Face, or from its hub")
    try:
        return Path(snapshot_download(id, revision=entry.revision, allow_patterns=FILES))
    except OSError as error:
        raise DemoFailed(f"{id} could not be fetched; give its folder as BASE instead: {error}") from error


def offer(base: DemoBase, api: Api, blobs: BlobStore) -> None:
    """Put it where jobs look for it and import it. The tiny one is there. Raises DemoFailed."""
    if base.id == TINY:
        return
    entry = CATALOG.get(base.id)
    asset = entry.asset if entry else None
    if entry is None:
        print(f"nobody reviewed the license of {base.folder}: it is accepted for this demo alone")
        own = own_entry(base.folder, base.id, {"terms": UNREVIEWED}, None, "cpu")
        api.apply_policy(own_policy(api.policy(None).policy, own), replacing=0)
        asset = own["asset"]
    place = asset_folder(str(asset))
    for file in filter(Path.is_file, base.folder.iterdir()):
        with file.open("rb") as opened:
            blobs.write(f"{place}{file.name}", iter(partial(opened.read, CHUNK_BYTES), b""))
    api.import_base_model(base.id)
    last = import_ended(api, base.id).last_import
    if last and last.problem:
        raise DemoFailed(f"{base.id} was not imported: {last.problem.message}")
    if entry is None:
        terms = api.base_model(base.id).terms_sha256
        api.decide_license(base.id, accepted=True, comment="a demo on a laptop", terms_sha256=terms)
