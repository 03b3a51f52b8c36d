"""Rows that say nearly the same, inside a part and across parts: banded MinHash (docs/explanation/content-scan.md).
`rensa` makes the signatures; the bands are ours, because its index keeps every row: here at most 17 MB for each part.
Two rows have to be similar twice: by all of their text and by their dialogue alone, for rows may share a long system
message or a question."""

from array import array
from functools import lru_cache
from mmap import ACCESS_COPY, mmap
from operator import add
from typing import NamedTuple

from rensa import RMinHash
from xxhash import xxh3_64_intdigest

BANDS, ROWS_IN_BAND = 8, 5
# Of rows with this Jaccard similarity of their word pairs, 96 % share a band; the signature then estimates it to
# within 0.06 (one standard deviation).
SIMILAR = 0.8
INDEXED_ROWS_BITS = 17
_PERMUTATIONS = BANDS * ROWS_IN_BAND
# Of the bytes of `Sketch.low`, the upper and the lower halves.
_WHOLE, _DIALOGUE = (int.from_bytes(bytes([half]) * _PERMUTATIONS) for half in (0xF0, 0x0F))
# Of two values that differ, one pair in 16 has the same 4 bits.
_AGREE = round((SIMILAR + (1 - SIMILAR) / 16) * _PERMUTATIONS)
_SEED = 42


class Sketch(NamedTuple):
    """What is kept of a row: `key` is equal for texts with equal words, `bands` and `low` for estimating similarity.
    `bands` are 8 signed integers of 64 bits. `low` has 4 bits of each of the 40 values of both signatures."""

    key: int
    bands: tuple[int, ...]
    low: bytes


def key_of(text: str) -> int:
    """64 bits that are equal for equal texts, in every process."""
    return xxh3_64_intdigest(text.encode("utf-8", "replace"))


def sketch(words: list[str], key: int, context: str = "") -> Sketch:
    """`words` of the dialogue in lower case, and their `key`; `context`: what else the model reads. Order counts."""
    whole = dialogue = _signature(words)
    if context:
        around, context_key = _of_context(context)
        whole = tuple(map(min, dialogue, around))  # the signature of a union
        key ^= context_key
    both = (zip(*[iter(signature)] * ROWS_IN_BAND, strict=True) for signature in (whole, dialogue))
    bands = tuple(map(hash, zip(range(BANDS), *both, strict=True)))  # of integers: the same everywhere
    low = _low(whole) & _WHOLE | _low(dialogue) & _DIALOGUE
    return Sketch(key, bands, low.to_bytes(_PERMUTATIONS))


def _low(signature: tuple[int, ...]) -> int:
    """The low byte of each value."""
    return int.from_bytes(array("I", signature).tobytes()[::4])


def _signature(words: list[str]) -> tuple[int, ...]:
    hashed = RMinHash(_PERMUTATIONS, _SEED)
    hashed.update(list(map(add, words, words[1:])) or words)
    return tuple(hashed.digest())


@lru_cache(maxsize=16)
def _of_context(text: str) -> tuple[tuple[int, ...], int]:
    """Signature and key. Kept, for rows often share their system message."""
    words = text.lower().split()
    return _signature(words), key_of(" ".join(words))


def similar(one: bytes | bytearray, other: bytes) -> bool:
    """Whether two rows are, by `Sketch.low`."""
    differing = int.from_bytes(one) ^ int.from_bytes(other)
    return all((differing & half).to_bytes(_PERMUTATIONS).count(0) >= _AGREE for half in (_WHOLE, _DIALOGUE))


class Match(NamedTuple):
    """An earlier row: the first row of its cluster, and its tag. `exact`: the same words."""

    leader: int
    tag: int
    exact: bool


def zeros(size: int) -> mmap:
    """Memory that the system gives when it is first written to: a bytearray is filled with zeros at once."""
    return mmap(-1, size, access=ACCESS_COPY)


class Table:
    """`2**bits` integers of 64 bits, 0 at first. While few are set they are in a dict: scattered, each takes a page."""

    def __init__(self, bits: int) -> None:
        self._bits, self._few, self._all = bits, dict[int, int](), memoryview(b"")

    def __getitem__(self, place: int) -> int:
        return self._all[place] if self._all else self._few.get(place, 0)

    def __setitem__(self, place: int, value: int) -> None:
        if self._all:
            self._all[place] = value
            return
        self._few[place] = value
        if len(self._few) * 16 > 1 << self._bits:  # 100 bytes each in the dict, so it is no larger than all
            self._all = memoryview(zeros(8 << self._bits)).cast("Q")
            for place, value in self._few.items():
                self._all[place] = value
            self._few.clear()


class Index:
    """The latest `2**bits` rows of one part; older ones are forgotten."""

    def __init__(self, bits: int = INDEXED_ROWS_BITS) -> None:
        size = 1 << bits
        self._mask = size - 1
        self._count = 0
        self._bands = [Table(bits) for _ in range(BANDS)]
        self._low = zeros(_PERMUTATIONS * size)
        self._keys, self._tags = (memoryview(zeros(8 * size)).cast("Q") for _ in range(2))
        self._leaders = memoryview(zeros(8 * size)).cast("q")

    def match(self, row: Sketch) -> Match | None:
        """An indexed row that says nearly the same. Of each band the latest row is looked at."""
        for band, value in zip(self._bands, row.bands, strict=True):
            entry = band[value & self._mask]
            if not entry or (entry ^ value) & 0xFFFF_FFFF_0000_0000:
                continue
            place = (entry & 0xFFFF_FFFF) - 1 & self._mask
            if similar(self._low[place * _PERMUTATIONS : (place + 1) * _PERMUTATIONS], row.low):
                return Match(self._leaders[place], self._tags[place], self._keys[place] == row.key)
        return None

    def add(self, row: Sketch, leader: int, tag: int = 0) -> None:
        """`leader` is signed, `tag` is any 64 bits that go with the row."""
        place = self._count & self._mask
        self._count += 1
        self._low[place * _PERMUTATIONS : (place + 1) * _PERMUTATIONS] = row.low
        self._keys[place], self._tags[place] = row.key, tag
        self._leaders[place] = leader
        for band, value in zip(self._bands, row.bands, strict=True):
            band[value & self._mask] = value & 0xFFFF_FFFF_0000_0000 | (place + 1)
