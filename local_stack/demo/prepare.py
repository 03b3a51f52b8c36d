"""A fresh stack for the demo, and the recipe's files in its drop zone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from local_stack import stack
from local_stack.base_model import REPOSITORY
from local_stack.say import Say

# train.jsonl starts the run, so what it needs lies there before it.
DROP_ORDER = ("recipe.yaml", "eval.jsonl", "train.jsonl")


class DemoFailed(Exception):
    """The demo did not end with a promoted, answering model; the message says why."""


def recipe_folder(name: str) -> Path:
    """The folder of a ready recipe. Raises DemoFailed if there is none of that name."""
    ready = sorted(path.parent.name for path in (REPOSITORY / "recipes").glob("*/recipe.yaml"))
    if name not in ready:
        raise DemoFailed(f"there is no recipe {name!r}; ready recipes: {', '.join(ready)}")
    return REPOSITORY / "recipes" / name


def wipe(root: Path, say: Say) -> None:
    """Stop what an earlier demo left running and delete its folder.

    Raises DemoFailed if the folder holds anything that is not a stack's.
    """
    if not root.exists():
        return
    if any(root.iterdir()) and not (root / "stack.lock").exists():
        raise DemoFailed(f"{root} is not the folder of an earlier demo; it is left alone")
    stack.down(root, say)
    shutil.rmtree(root)


def drop(folder: Path, zone: Path, say: Say) -> None:
    """Copy a recipe's files into a project's drop zone, each appearing whole."""
    zone.mkdir(parents=True, exist_ok=True)
    for name in DROP_ORDER:
        partial = zone / f".{name}.partial"
        shutil.copyfile(folder / name, partial)
        os.replace(partial, zone / name)
        say(f"dropped {name} into {zone}")
