"""Findings that a setting decides on: where the recipe gives it wrongly, they may only follow from that."""

from __future__ import annotations

import tomllib
from pathlib import Path

from shared.validation.recipes import ReadRecipe

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
DECIDED_BY = {
    setting: frozenset(code for group in groups.split() for code in _TABLES["groups"][group].split())
    for setting, groups in _TABLES["settings"].items()
}


def consequences(recipe: ReadRecipe) -> frozenset[str]:
    """The codes of findings that may be there only because a setting is not known."""
    return frozenset().union(*(DECIDED_BY[name] for name in DECIDED_BY if not recipe.knows(*name.split("."))))
