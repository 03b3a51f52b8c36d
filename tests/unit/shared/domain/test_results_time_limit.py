"""How long a run may train, by its time and by its money."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import TimeLimit


@pytest.mark.parametrize(
    ("instance_type", "budget", "expected"),
    [
        ("Local_CPU", {"deadline_hours": 2, "max_usd": 0.01}, TimeLimit(7200, "deadline")),
        ("Standard_NC24ads_A100_v4", {"deadline_hours": 2, "max_usd": 100}, TimeLimit(7200, "deadline")),
        ("Standard_NC24ads_A100_v4", {"max_usd": 3.67, "tier": "dedicated"}, TimeLimit(3600, "budget")),
        ("Standard_NC24ads_A100_v4", {"max_usd": 7.34, "tier": "dedicated", "nodes": 4}, TimeLimit(1800, "budget")),
        ("Standard_NC24ads_A100_v4", {"max_usd": 0.6, "tier": "spot"}, TimeLimit(3600, "budget")),
    ],
)
def test_the_limit_is_the_deadline_or_what_the_budget_buys_whichever_is_earlier(
    instance_type: str, budget: dict[str, Any], expected: TimeLimit
) -> None:
    requested = Recipe.model_validate({"base_model": "droptune/tiny-llama", "budget": budget})
    recipe = resolve(requested, "shop", train_rows=100, characters_max=100)
    recipe = recipe.model_copy(update={"training_instance_type": instance_type})
    assert TimeLimit.of(recipe) == expected
    assert TimeLimit.of(recipe, 0.9) == TimeLimit(expected.seconds * 0.9, expected.kind)
