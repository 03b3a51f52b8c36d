"""Text that shows nothing: white space and characters without a glyph."""

# Categories Zs, Zl, Zp and Cc of Unicode, the format characters of no width (Cf), and those that are letters or symbols
# by category and empty to the eye: Hangul fillers, the Braille blank, variation selectors, the grapheme joiner.
_RANGES = (
    (0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x1680, 0x1680),
    (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800),
    (0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB),
    (0x1D173, 0x1D17A), (0xE0000, 0xE01EF),
)  # fmt: skip
BLANK = "".join(chr(code) for first, last in _RANGES for code in range(first, last + 1))


def is_blank(text: str) -> bool:
    """Whether nothing of the text is seen."""
    return not text or (not "!" <= text[0] <= "~" and not text.strip(BLANK))  # most texts begin with a letter of ASCII
