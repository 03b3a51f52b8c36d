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


class Slots:
    """`2**bits` slots of 16 bytes. Of two keys that share a slot the newer stays: when it fills up, old ones go."""

    def __init__(self, bits: int) -> None:
        self._keys, self._values = (memoryview(zeros(8 << bits)).cast("Q") for _ in range(2))
        self._mask = (1 << bits) - 1

    def get(self, key: int) -> int | None:
        """The value, or None if the key is not there (any more)."""
        slot = key & self._mask
        return self._values[slot] if self._keys[slot] == (key & _ALL or 1) else None

    def put(self, key: int, value: int) -> None:
        slot = key & self._mask
        self._keys[slot] = key & _ALL or 1
        self._values[slot] = value
