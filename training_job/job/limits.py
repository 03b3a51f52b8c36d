"""When training has to stop by itself: what the recipe allows in time and money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.domain.catalog import find_sku
from shared.domain.recipe import ResolvedRecipe, Tier

FINISH_SHARE = 0.1  # kept for the last checkpoint, merging and comparing; the platform stops the job at the deadline


@dataclass(frozen=True)
class Limit:
    """Seconds of training, over all restarts, and which of the recipe's two limits they come from."""

    seconds: float
    kind: Literal["deadline", "budget"]

    @classmethod
    def of(cls, recipe: ResolvedRecipe) -> Limit:
        """The earlier of deadline and budget; a machine that costs nothing has no budget."""
        budget, sku = recipe.requested.budget, find_sku(recipe.training_instance_type)
        price, share = sku.price(spot=budget.tier == Tier.SPOT), 1 - FINISH_SHARE
        deadline = cls(budget.deadline_hours * 3600 * share, "deadline")
        if not price:
            return deadline
        affordable = budget.max_usd / (price * budget.nodes) * 3600 * share
        return min(deadline, cls(affordable, "budget"), key=lambda limit: limit.seconds)
