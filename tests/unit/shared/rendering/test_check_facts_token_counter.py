"""Tokens, counted over rows."""

from __future__ import annotations

import itertools
import random

from shared.rendering.check import packed_sequences


def best_possible(lengths: list[int], size: int) -> int:
    """By trying every order; first fit finds the optimum in one of them."""

    def first_fit(order: tuple[int, ...]) -> int:
        room: list[int] = []
        for length in order:
            at = next((i for i, left in enumerate(room) if left >= length), None)
            if at is None:
                room.append(size - length)
            else:
                room[at] -= length
        return len(room)

    return min(map(first_fit, itertools.permutations(lengths)), default=0)


def test_packing_needs_no_more_sequences_than_its_bound_says() -> None:
    chance = random.Random(3)
    for _ in range(60):
        lengths = sorted(chance.randint(1, 10) for _ in range(chance.randint(0, 6)))
        best = best_possible(lengths, 10)
        assert best <= packed_sequences(lengths, 10) <= 11 / 9 * best + 1
    assert packed_sequences([3, 3, 7, 7], 10) == 2
    assert packed_sequences([10] * 4, 10) == 4
