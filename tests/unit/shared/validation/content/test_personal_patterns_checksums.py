"""Check digits, against an independent library."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from stdnum import ean, luhn
from stdnum.gb import nhs
from stdnum.iso7064 import mod_97_10

from shared.validation.content import personal_patterns as checksums
from tests.unit.shared.validation.content.values import iban_number


@given(st.text("0123456789", min_size=10, max_size=10), st.text("0123456789", min_size=13, max_size=19))
def test_check_digits_agree_with_an_independent_library(ten: str, card: str) -> None:
    assert checksums.luhn(card) == luhn.is_valid(card)
    assert checksums.ean(card[:13]) == ean.is_valid(card[:13])
    if len(set(ten)) > 1:
        assert checksums.nhs_number(ten) == nhs.is_valid(ten)


def test_ibans_agree_with_an_independent_library() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        number = iban_number(chance).replace(" ", "")
        at = chance.randrange(4, len(number))
        broken = number[:at] + chance.choice("0123456789") + number[at + 1 :]
        assert checksums.iban(number)
        assert checksums.iban(broken) == mod_97_10.is_valid(broken[4:] + broken[:4])
