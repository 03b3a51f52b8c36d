"""A map in a fixed amount of memory."""

from __future__ import annotations

import random

import psutil
import pytest

from shared.validation.content.slots import Slots, Table, key_of


def test_of_two_keys_that_share_a_slot_the_newer_stays() -> None:
    slots = Slots(2)
    slots.put(1, 10)
    slots.put(2, 20)
    slots.put(5, 50)  # the slot of 1
    assert [slots.get(key) for key in (1, 2, 5, 3)] == [None, 20, 50, None]
    slots.put(5, 51)
    assert slots.get(5) == 51


def test_the_key_0_is_a_key_like_any_other() -> None:
    slots = Slots(3)
    assert slots.get(0) is None
    slots.put(0, 7)
    assert slots.get(0) == 7


def test_equal_texts_have_equal_keys_of_64_bits() -> None:
    assert key_of("a") == key_of("a") != key_of("b")
    assert 0 <= key_of("\ud800") < 1 << 64


@pytest.mark.parametrize("bits", [2, 4, 10])
def test_a_table_gives_what_was_set_last_however_full_it_is(bits: int) -> None:
    chance, table, expected = random.Random(1), Table(bits), [0] * (1 << bits)
    for _ in range(3 << bits):
        place, value = chance.randrange(1 << bits), chance.randrange(1 << 64)
        table[place] = expected[place] = value
        assert [table[other] for other in range(1 << bits)] == expected


def test_a_few_scattered_entries_of_a_large_table_take_no_page_each() -> None:
    process, chance, table = psutil.Process(), random.Random(2), Table(24)  # 128 MB
    before = process.memory_info().rss
    for number in range(20_000):
        table[chance.randrange(1 << 24)] = number
    assert process.memory_info().rss - before < 20_000_000  # 80 MB of pages
