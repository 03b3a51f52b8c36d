"""A map from 64-bit keys to 64-bit values in a fixed amount of memory."""

from mmap import ACCESS_COPY, mmap

from xxhash import xxh3_64_intdigest

_ALL = (1 << 64) - 1


def key_of(text: str) -> int:
    """64 bits that are equal for equal texts, in every process."""
    return xxh3_64_intdigest(text.encode("utf-8", "replace"))


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


class Slots:
    """`2**bits` slots of 16 bytes. Of two keys that share a slot the newer stays: when it fills up, old ones go."""

    def __init__(self, bits: int) -> None:
        self._keys, self._values = Table(bits), Table(bits)
        self._mask = (1 << bits) - 1

    def get(self, key: int) -> int | None:
        """The value, or None if the key is not there (any more)."""
        slot = key & self._mask
        return self._values[slot] if self._keys[slot] == (key & _ALL or 1) else None

    def put(self, key: int, value: int) -> None:
        slot = key & self._mask
        self._keys[slot] = key & _ALL or 1
        self._values[slot] = value
