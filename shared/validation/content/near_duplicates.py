"""Rows that say nearly the same, inside a part and across parts: banded MinHash.

Method: Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3. `rensa` makes the signatures
(Rust, no dependencies); the bands are ours, because its index keeps every row. Here memory is fixed: about 16 MB for
each part that has rows.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from operator import add
from typing import NamedTuple

from rensa import RMinHash

from shared.validation.content.slots import key_of

BANDS, ROWS_IN_BAND = 8, 5
# Of rows with this Jaccard similarity of their word pairs, 96 % share a band; the signature then estimates it to
# within 0.06 (one standard deviation).
SIMILAR = 0.8
INDEXED_ROWS_BITS = 17
MAX_CLUSTERS = 10_000
_PERMUTATIONS = BANDS * ROWS_IN_BAND
_AGREE = round(SIMILAR * _PERMUTATIONS)
_SEED = 42


class Sketch(NamedTuple):
    """What is kept of a row: `key` is equal for texts with equal words, `bands` and `low` for estimating similarity."""

    key: int
    bands: tuple[int, ...]
    low: bytes


def sketch(words: list[str]) -> Sketch:
    """`words` in lower case. Pairs of neighbors are compared, so order counts."""
    pairs = list(map(add, words, words[1:])) or words
    hashed = RMinHash(_PERMUTATIONS, _SEED)
    hashed.update(pairs)
    digest = hashed.digest()
    bands = tuple(map(hash, zip(*[iter(digest)] * ROWS_IN_BAND, strict=True)))  # of integers: the same everywhere
    return Sketch(key_of(" ".join(words)), bands, array("I", digest).tobytes()[::4])


class Match(NamedTuple):
    """An earlier row: its number, the first row of its cluster, and its tag. `exact`: the same words."""

    number: int
    leader: int
    tag: int
    exact: bool


class Index:
    """The latest `2**bits` rows of one part; older ones are forgotten."""

    def __init__(self, bits: int = INDEXED_ROWS_BITS) -> None:
        size = 1 << bits
        self._mask = size - 1
        self._count = 0
        self._bands = [memoryview(bytearray(8 * size)).cast("Q") for _ in range(BANDS)]
        self._low = bytearray(_PERMUTATIONS * size)
        self._keys, self._tags = (memoryview(bytearray(8 * size)).cast("Q") for _ in range(2))
        self._numbers, self._leaders = (memoryview(bytearray(8 * size)).cast("q") for _ in range(2))

    def match(self, row: Sketch) -> Match | None:
        """The first of `matches`."""
        return next(self.matches(row), None)

    def matches(self, row: Sketch) -> Iterator[Match]:
        """Indexed rows that say nearly the same: of each band the latest one, so not all of a large cluster."""
        tried = set[int]()
        for band, value in zip(self._bands, row.bands, strict=True):
            entry = band[value & self._mask]
            if not entry or (entry ^ value) & 0xFFFF_FFFF_0000_0000:
                continue
            place = (entry & 0xFFFF_FFFF) - 1 & self._mask
            if place not in tried:
                tried.add(place)
                if self._similar(place, row.low):
                    exact = self._keys[place] == row.key
                    yield Match(self._numbers[place], self._leaders[place], self._tags[place], exact)

    def _similar(self, place: int, low: bytes) -> bool:
        kept = self._low[place * _PERMUTATIONS : (place + 1) * _PERMUTATIONS]
        return sum(map(int.__eq__, kept, low)) >= _AGREE

    def add(self, row: Sketch, number: int, leader: int, tag: int = 0) -> None:
        """`number` and `leader` are signed, `tag` is any 64 bits that go with the row."""
        place = self._count & self._mask
        self._count += 1
        self._low[place * _PERMUTATIONS : (place + 1) * _PERMUTATIONS] = row.low
        self._keys[place], self._tags[place] = row.key, tag
        self._numbers[place], self._leaders[place] = number, leader
        for band, value in zip(self._bands, row.bands, strict=True):
            band[value & self._mask] = value & 0xFFFF_FFFF_0000_0000 | (place + 1)


class Clusters:
    """Sizes of groups of near duplicates, by the number of their first row; at most `MAX_CLUSTERS` are told apart."""

    def __init__(self) -> None:
        self._sizes: Counter[int] = Counter()

    def add(self, leader: int) -> None:
        if leader in self._sizes or len(self._sizes) < MAX_CLUSTERS:
            self._sizes[leader] += 1

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def largest(self) -> int:
        """Rows in the largest one, its first row included."""
        return max(self._sizes.values(), default=-1) + 1
