"""How long a run may train: the recipe's time, or what its money buys."""

from dataclasses import dataclass
from typing import Literal

from shared.domain.catalog import find_sku
from shared.domain.recipe import ResolvedRecipe, Tier


@dataclass(frozen=True)
class TimeLimit:
    """Seconds of training, over all attempts, and which of the recipe's two limits they come from."""

    seconds: float
    kind: Literal["deadline", "budget"]

    @classmethod
    def of(cls, recipe: ResolvedRecipe, share: float = 1.0) -> "TimeLimit":
        """A share of the earlier of deadline and budget; a machine that costs nothing has no budget."""
        budget, sku = recipe.requested.budget, find_sku(recipe.training_instance_type)
        price = sku.price(spot=budget.tier == Tier.SPOT)
        deadline = cls(budget.deadline_hours * 3600 * share, "deadline")
        if not price:
            return deadline
        affordable = budget.max_usd / (price * budget.nodes) * 3600 * share
        return min(deadline, cls(affordable, "budget"), key=lambda limit: limit.seconds)
