"""How far a share can be trusted, and how far reviewers agree."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from statistics import NormalDist

Units = Collection[Sequence[str]]  # the ratings of each row, two or more


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927; method 3 of Newcombe 1998, Statistics in Medicine 17)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = (successes + z * z / 2) / (trials + z * z)
    spread = z * math.sqrt(successes * (trials - successes) / trials + z * z / 4) / (trials + z * z)
    return max(0.0, center - spread), min(1.0, center + spread)


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
