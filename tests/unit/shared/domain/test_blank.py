"""Text that shows nothing."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from shared.domain.blank import BLANK, is_blank

# Signs that are seen although their category is that of format characters.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
SEEN |= set(range(0x1BCA0, 0x1BCA4))  # shorthand overlaps: they place signs


def test_every_character_of_unicode_without_a_glyph_is_blank() -> None:
    empty = {
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Zs", "Zl", "Zp", "Cc", "Cf") or chr(code).isspace()
    }
    assert empty - SEEN <= set(map(ord, BLANK))


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\u200b", "\ufeff \u2060", "\u3164", "\u2800", "\u00ad", "\U000e0041"]
)
def test_nothing_is_seen(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", ".", "\u200bno\u200b", "0", "\U0001f529", "…", "日"])
def test_something_is_seen(text: str) -> None:
    assert not is_blank(text)
