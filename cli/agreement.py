"""How far reviewers agree."""

import math
from collections import Counter
from collections.abc import Collection, Sequence

Units = Collection[Sequence[str]]  # the ratings of each row, two or more


def agreement(units: Units) -> float:
    """Share of equal pairs of ratings of one row, the mean over rows."""
    return sum(_equal_pairs(unit) / math.comb(len(unit), 2) for unit in units) / len(units)


def _equal_pairs(ratings: Sequence[str]) -> int:
    return sum(math.comb(count, 2) for count in Counter(ratings).values())


def cohen_kappa(pairs: Units) -> float | None:
    """Agreement of two reviewers beyond chance (Cohen 1960); None where all ratings are equal."""
    first, second = map(Counter, zip(*pairs, strict=True))
    by_chance = sum(first[label] * second[label] for label in first) / len(pairs) ** 2
    return None if by_chance == 1 else (agreement(pairs) - by_chance) / (1 - by_chance)


def krippendorff_alpha(units: Units) -> float | None:
    """The same of any number of reviewers, who may each have left rows out; nominal.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C.
    """
    every = [label for unit in units for label in unit]
    observed = sum((math.comb(len(unit), 2) - _equal_pairs(unit)) / (len(unit) - 1) for unit in units)
    by_chance = math.comb(len(every), 2) - _equal_pairs(every)
    return None if by_chance == 0 else 1 - (len(every) - 1) * observed / by_chance
