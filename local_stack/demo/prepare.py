"""A fresh stack for the demo, and the recipe's files in its drop zone."""

import shutil
from pathlib import Path

import yaml

from local_stack import stack
from local_stack.processes import REPOSITORY
from shared.domain.paths import DATASETS
from shared.ports import BlobStore

# train.jsonl starts the run, so what it needs lies there before it.
DROP_ORDER = ("recipe.yaml", "eval.jsonl", "train.jsonl")
TINY = "droptune/tiny-llama"
# Only a folder that a demo made is ever wiped; a stack of the user's own does not have it.
MARK = ".demo"


class DemoFailed(Exception):
    """The demo did not end with a promoted, answering model; the message says why."""


def recipe_folder(name: str, base: str = TINY) -> Path:
    """The folder of a ready recipe, or any other that holds a recipe's files, for a base model that the demo tunes.
    Raises DemoFailed if it does not."""
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


def fresh(root: Path) -> None:
    """Make the demo's folder; stop what an earlier demo left running there and delete its state first.

    Raises DemoFailed if the folder holds anything else.
    """
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
    """Put a drop's files into a project's drop zone; `place` is where a person finds the container of all. `base`: the
    recipe names it in place of its own."""
    for name in DROP_ORDER:
        content = (folder / name).read_bytes()
        if name == "recipe.yaml" and base != TINY:
            content = yaml.safe_dump({**yaml.safe_load(content), "base_model": base}, sort_keys=False).encode()
        blobs.write(f"{DATASETS}/{project}/{name}", [content])
    print(f"dropped {', '.join(DROP_ORDER)} into {place}/{project}")
