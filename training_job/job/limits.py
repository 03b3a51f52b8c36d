"""What limits a run: the recipe's time and money, the length of rows, the number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from shared.domain.catalog import find_sku
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import ResolvedHyperparameters, ResolvedRecipe, ResolvedReinforcement, Tier

FINISH_SHARE = 0.1  # kept for the last checkpoint, merging and comparing; the platform stops the job at the deadline


@dataclass(frozen=True)
class TimeLimit:
    """Seconds of training, over all restarts, and which of the recipe's two limits they come from."""

    seconds: float
    kind: Literal["deadline", "budget"]

    @classmethod
    def of(cls, recipe: ResolvedRecipe) -> TimeLimit:
        """The earlier of deadline and budget; a machine that costs nothing has no budget."""
        budget, sku = recipe.requested.budget, find_sku(recipe.training_instance_type)
        price, share = sku.price(spot=budget.tier == Tier.SPOT), 1 - FINISH_SHARE
        deadline = cls(budget.deadline_hours * 3600 * share, "deadline")
        if not price:
            return deadline
        affordable = budget.max_usd / (price * budget.nodes) * 3600 * share
        return min(deadline, cls(affordable, "budget"), key=lambda limit: limit.seconds)


def length_limit(hyperparameters: ResolvedHyperparameters, context: int | None) -> int:
    """Longest row in tokens, which must fit the model."""
    limit = hyperparameters.max_length_tokens
    if context is not None and limit > context:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "max_length_beyond_context",
            f"max_length_tokens is {limit}, the model reads {context}",
            "method.hyperparameters.max_length_tokens",
        )
    return limit


def total_steps(hyperparameters: ResolvedHyperparameters, rows: int) -> int:
    """Optimizer steps; never more than the recipe promised, fewer when rows were dropped."""
    epoch = math.ceil(rows / hyperparameters.batch_size)
    if isinstance(hyperparameters, ResolvedReinforcement):  # batches of prompts are whole
        epoch = rows // hyperparameters.batch_size
    if not epoch:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_beyond_data",
            f"a batch of {hyperparameters.batch_size} prompts cannot be made of {rows}",
            "method.hyperparameters.batch_size",
        )
    if rows_per_step(hyperparameters) % hyperparameters.micro_batch_size:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_not_divisible",
            "batch_size must be a multiple of micro_batch_size",
            "method.hyperparameters.batch_size",
        )
    return min(epoch * hyperparameters.n_epochs, hyperparameters.total_steps)
