"""Recall and precision of what was found, by kind."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.names.labeled import KINDS, Labeled

Spans = Iterable[tuple[str, int, int]]


class KindScore(NamedTuple):
    """`recall`: marked values of which each letter and digit was found, as this kind. `precision`: what was found that
    touches a marked value of its kind; a place within an address is right too."""

    marked: int
    recall: float
    found: int
    precision: float


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's, of 95 %: where the share of a far larger set is likely to be."""
    z = 1.96
    middle, bar = share + z * z / (2 * count), 1 + z * z / count
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0, (middle - reach) / bar), min(1, (middle + reach) / bar)


def score(data: Sequence[Labeled], found: Sequence[Spans]) -> dict[str, KindScore]:
    """Of the kinds that are marked in the data."""
    marked = {kind for one in data for kind, _, _ in one.spans}
    return {kind: _of_kind(kind, data, found) for kind in dict.fromkeys(KINDS.values()) if kind in marked}


def _of_kind(kind: str, data: Sequence[Labeled], found: Sequence[Spans]) -> KindScore:
    marked = seen = covered = right = 0
    for (text, spans), some in zip(data, found, strict=True):
        own = [(start, end) for one, start, end in some if one == kind]
        expected = [(start, end) for one, start, end in spans if one == kind]
        good = [*expected, *((start, end) for one, start, end in spans if kind == "place" and one == "postal_address")]
        marked, seen = marked + len(expected), seen + len(own)
        covered += sum(_covers(own, text, start, end) for start, end in expected)
        right += sum(any(start < other and one < end for one, other in good) for start, end in own)
    return KindScore(marked, covered / max(marked, 1), seen, right / max(seen, 1))


def _covers(own: list[tuple[int, int]], text: str, start: int, end: int) -> bool:
    return all(any(one <= at < other for one, other in own) for at in range(start, end) if text[at].isalnum())
