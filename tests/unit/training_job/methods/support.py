"""Recipes of a reinforcement run."""

from __future__ import annotations

from typing import Any

# Of the answers of random weights some hold a letter and some do not; the evaluation looks for it in its own way.
GRADERS = [{"name": "letter", "type": "regex", "pattern": "{{item.letter}}"}]
EVALUATION_GRADERS = [{"name": "has", "type": "string_check", "operation": "like", "reference": "{{item.letter}}"}]


def recipe_of(
    graders: list[dict[str, Any]] | None = None, evaluation_graders: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    method = {"type": "reinforcement", "graders": graders or GRADERS}
    return {"method": method, "evaluation": {"graders": evaluation_graders or EVALUATION_GRADERS}}
