"""A fresh stack for the demo, its base model, and the recipe's files in its drop zone."""

import logging
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cli.client import Api
from cli.operate import import_ended, own_entry, own_policy
from local_stack import stack
from local_stack.processes import REPOSITORY
from local_stack.tiny_base.shipped import MANIFEST, WEIGHTS, sources_sha256
from shared.base_models.bundles import asset_folder
from shared.domain.catalog import CATALOG, BaseModelEntry, find_entry
from shared.domain.paths import DATASETS
from shared.domain.policy import PlatformPolicy
from shared.ports import BlobStore

# train.jsonl starts the run, so what it needs lies there before it.
DROP_ORDER = ("recipe.yaml", "eval.jsonl", "train.jsonl")
TINY = "droptune/tiny-llama"
# Only a folder that a demo made is ever wiped; a stack of the user's own does not have it.
MARK = ".demo"
FILES = ["*.json", "*.safetensors", "*.jinja", "LICENSE*"]
CHUNK_BYTES = 2**20
UNREVIEWED = {
    "id": "LicenseRef-unreviewed",
    "policy": "review",
    "obligations": ["Nobody has read this model's license: read it before you accept it."],
}


class DemoFailed(Exception):
    """The demo did not end with a promoted, answering model; the message says why."""


def recipe_folder(name: str, base: str = TINY) -> Path:
    """A ready recipe's folder, or another with a recipe for a base that the demo tunes. Raises DemoFailed."""
    folder = Path(name) if "/" in name else REPOSITORY / "recipes" / name
    ready = {path.parent.name: _base_model(path) for path in sorted((REPOSITORY / "recipes").glob("*/recipe.yaml"))}
    if not (folder / "recipe.yaml").exists():
        raise DemoFailed(f"there is no recipe {name!r}; ready recipes: {', '.join(ready)}")
    if (base_model := _base_model(folder / "recipe.yaml")) != TINY and base == TINY:
        small = ", ".join(name for name, base in ready.items() if base == TINY)
        raise DemoFailed(
            f"{folder.name} is for {base_model}, which no laptop tunes: drop its files into a deployed Droptune. "
            f"On a laptop run one of {small}, or tune another base: BASE=HuggingFaceTB/SmolLM2-135M-Instruct"
        )
    return folder.resolve()


def _base_model(recipe: Path) -> str:
    return str(yaml.safe_load(recipe.read_text(encoding="utf-8")).get("base_model", TINY))


def fresh(root: Path, *needed: Path) -> None:
    """Make the demo's folder; an earlier demo's is stopped and deleted. Raises DemoFailed if it holds anything else."""
    for folder in needed:
        if folder.resolve().is_relative_to(root.resolve()):
            raise DemoFailed(f"{folder} lies in {root}, which a demo deletes first: copy it to another place")
    if root.exists() and any(root.iterdir()):
        if not (root / MARK).exists():
            raise DemoFailed(f"{root} is not the folder of an earlier demo; it is left alone")
        stack.down(root)
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()


def drops(folder: Path) -> list[Path]:
    """A ready recipe's folder, then its subfolders with a recipe of their own: each is dropped on what came before."""
    return [folder, *sorted(path.parent for path in folder.glob("*/recipe.yaml"))]


def drop(folder: Path, blobs: BlobStore, project: str, place: str, base: str = TINY) -> None:
    """Put a drop's files into a project's drop zone, found at `place`; `base`: in place of the recipe's own."""
    for name in DROP_ORDER:
        content = (folder / name).read_bytes()
        if name == "recipe.yaml" and base != TINY:
            content = yaml.safe_dump({**yaml.safe_load(content), "base_model": base}, sort_keys=False).encode()
        blobs.write(f"{DATASETS}/{project}/{name}", [content])
    print(f"dropped {', '.join(DROP_ORDER)} into {place}/{project}")


@dataclass(frozen=True)
class DemoBase:
    """The tiny base model, or another that a laptop can tune, from a folder or the Hugging Face Hub. `id` in the
    catalog, or of a model of one's own; its folder; a model of one's own as a policy has it."""

    id: str
    folder: Path
    own: dict[str, Any] | None = None

    @property
    def tiny(self) -> Path:
        """The build of the tiny base that the stack gets at its start."""
        return self.folder if self.id == TINY else WEIGHTS


def demo_base(given: str) -> DemoBase:
    """Of a folder, or the id of a model of the catalog, fetched at its pinned revision. A folder is a catalog's model
    as a build of the tiny base or by that revision: dimensions say nothing of weights. Raises DemoFailed, and
    InputError as `own_entry`."""
    folder = Path(given)
    if not folder.is_dir():
        return DemoBase(given, WEIGHTS if given == TINY else _fetched(given))
    manifest = folder / MANIFEST
    if manifest.is_file() and sources_sha256() in manifest.read_text(encoding="utf-8", errors="replace"):
        return DemoBase(TINY, folder)
    *_, repository, snapshots, revision = ("", "", *folder.resolve().parts)
    for entry in _small():
        if (repository, snapshots, revision) == (f"models--{entry.id.replace('/', '--')}", "snapshots", entry.revision):
            return DemoBase(entry.id, folder)
    id = "local/" + re.sub(r"[^\w.-]+", "-", folder.resolve().name, flags=re.ASCII)
    own = own_entry(folder, id, {"terms": UNREVIEWED}, None, "cpu")
    own_policy(PlatformPolicy(), own)
    return DemoBase(id, folder, own)


def _small() -> list[BaseModelEntry]:
    return [entry for entry in CATALOG.values() if entry.accelerator == "cpu" and entry.architecture]


def _fetched(id: str) -> Path:
    entry = CATALOG.get(id)
    if entry is None or entry.accelerator != "cpu" or entry.revision is None:
        offered = ", ".join(one.id for one in _small())
        raise DemoFailed(f"BASE={id} is no folder and none of the models that a laptop tunes: {offered}")
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it writes two lines for each retry
    print(f"{id} at {entry.revision[:12]}: from the cache of Hugging Face, or from its hub")
    try:
        return Path(snapshot_download(id, revision=entry.revision, allow_patterns=FILES))
    except OSError as error:
        raise DemoFailed(f"{id} could not be fetched; give its folder as BASE instead: {error}") from error


def offer(base: DemoBase, api: Api, blobs: BlobStore) -> None:
    """Put it where jobs look for it and import it. The tiny one is there. Raises DemoFailed."""
    if base.id == TINY:
        return
    asset = base.own["asset"] if base.own else find_entry(base.id).asset
    if base.own:
        print(f"nobody reviewed the license of {base.folder}: it is accepted for this demo alone")
        api.apply_policy(own_policy(api.policy(None).policy, base.own), replacing=0)
    place = asset_folder(str(asset))
    for file in filter(Path.is_file, base.folder.iterdir()):
        with file.open("rb") as opened:
            blobs.write(f"{place}{file.name}", iter(partial(opened.read, CHUNK_BYTES), b""))
    api.import_base_model(base.id)
    last = import_ended(api, base.id).last_import
    if last and last.problem:
        raise DemoFailed(f"{base.id} was not imported: {last.problem.message}")
    if base.own:
        terms = api.base_model(base.id).terms_sha256
        api.decide_license(base.id, accepted=True, comment="a demo on a laptop", terms_sha256=terms)
