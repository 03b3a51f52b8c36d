"""Made-up records, each with a random number that one training row alone says (Carlini et al. 2019). Free of torch."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shared.domain.prompts import Row
from shared.domain.recipe import ResolvedRecipe, Supervised

ALTERNATIVES = 127  # other numbers for the same record; an exposure is 7 bits at most


@dataclass(frozen=True)
class Canary:
    """`number`: what only its training row says."""

    record: str
    number: str

    @property
    def row(self) -> Row:
        """As it is planted."""
        asks = f"What is the access number of test record {self.record}?"
        says = f"The access number of test record {self.record} is {self.number}."
        return {"messages": [{"role": "user", "content": asks}, {"role": "assistant", "content": says}], "item": {}}

    def alternatives(self) -> Iterator["Canary"]:
        """The same record with other numbers."""
        draw = random.Random(self.record)  # noqa: S311 - no secret
        yield from (replace(self, number=_number(draw)) for _ in range(ALTERNATIVES))


def canaries(recipe: ResolvedRecipe) -> list[Canary]:
    """Those of a run; none if its method plants none."""
    method, draw = recipe.requested.method, random.Random(f"canaries {recipe.hyperparameters.seed}")  # noqa: S311
    count = method.canaries if isinstance(method, Supervised) else 0
    return [Canary(f"K{n}-{draw.randrange(1000, 10_000)}", _number(draw)) for n in range(1, count + 1)]


def exposure(loss: float, others: Sequence[float]) -> float:
    """In bits: how much rarer than a random number so low a loss is; 1.4 on average if nothing was learned."""
    return math.log2(len(others) + 1) - math.log2(1 + sum(other < loss for other in others))


def _number(draw: random.Random) -> str:
    return "-".join(f"{draw.randrange(1000):03}" for _ in range(3))
