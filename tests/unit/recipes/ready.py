"""The ready recipes as tests see them: their files and their generators."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from local_stack.demo.prepare import drops
from shared.domain.recipe import Recipe
from tests.paths import ROOT

RECIPES = ROOT / "recipes"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/recipe.yaml"))
DROPS = [part for name in NAMES for part in drops(RECIPES / name)]
# Those of the tiny base run on a laptop; the others are for real base models.
SMALL = [name for name in NAMES if name == "manufacturing" or name.endswith("-small")]
FULL = [name for name in NAMES if name not in SMALL]

Row = dict[str, Any]


def generator(name: str) -> Any:
    """The module `generate.py` of a recipe."""
    return import_module(f"recipes.{name}.generate")


def recipe_of(part: Path) -> Recipe:
    return Recipe.model_validate(yaml.safe_load((part / "recipe.yaml").read_text(encoding="utf-8")))


def rows_of(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def prompt_of(row: Row) -> str:
    """The last question of a row of any format."""
    messages = (row.get("input") or row)["messages"]
    return str(next(message["content"] for message in reversed(messages) if message["role"] == "user"))
