"""Plans of a recipe."""

from __future__ import annotations

from typing import Any

from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe

TINY = "droptune/tiny-llama"
PHI = "microsoft/Phi-4"


def plan(base_model: str = TINY, rows: int = 1500, characters: int = 100, **settings):
    given = {"use_case": "maintenance logs", **settings}
    return resolve(Recipe(base_model=base_model, **given), "part-codes", train_rows=rows, characters_max=characters)


def hyperparameters(**values):
    return {"method": {"hyperparameters": values}}


METHODS: dict[str, dict[str, Any]] = {
    "": {},
    "-dpo": {"method": {"type": "dpo"}},
    "-reinforcement": {
        "method": {
            "type": "reinforcement",
            "graders": [{"name": "cites", "type": "regex", "pattern": "{{item.rule}}"}],
        }
    },
}


REWARDS = METHODS["-reinforcement"]["method"]
