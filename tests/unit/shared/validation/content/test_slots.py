"""A map in a fixed amount of memory."""

from __future__ import annotations

from shared.validation.content.slots import Slots, key_of


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
