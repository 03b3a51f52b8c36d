"""Carves a held-out set out of the training rows when the project brings none."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class Carver:
    """Decides by a seeded hash of question and answer, so copies of a row always land on one side.

    The share is exact up to copies: the rows with the smallest hashes are held out. At least one row is held
    out and at least one is left, where there are two different ones. Memory: 8 bytes a row.
    """

    def __init__(self, seed: int) -> None:
        self._salt = seed.to_bytes(8, "little")
        self._hashes = array("Q")

    def note(self, question_key: bytes) -> None:
        """Take the next row."""
        digest = blake2b(question_key, digest_size=8, salt=self._salt).digest()
        self._hashes.append(int.from_bytes(digest, "little"))

    def held_out(self, share: float) -> list[bool]:
        """For each row in order: whether it is held out."""
        different = sorted(set(self._hashes))
        if len(different) < 2:
            return [False] * len(self._hashes)
        count = min(len(different) - 1, max(1, round(share * len(different))))
        limit = different[count - 1]
        return [value <= limit for value in self._hashes]
