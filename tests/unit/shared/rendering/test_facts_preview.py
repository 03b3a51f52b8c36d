"""Rows as the model reads them."""

from __future__ import annotations

from shared.rendering.facts import SHOWN_CHARACTERS, preview_row
from shared.rendering.rows import render_row
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS
from tests.unit.shared.rendering.support import answer


def test_a_preview_is_the_rendered_row_with_long_stretches_shortened() -> None:
    bundle = families.bundle("qwen", marked=True)
    row = ROWS["several turns"][0]
    shown = preview_row(bundle, row, file="train", number=7)
    assert "".join(piece.text for piece in shown.pieces) == render_row(bundle, row).text
    assert [piece.text for piece in shown.pieces if piece.has_loss] == [
        "A bolt.<|im_end|>",
        "Twelve are in\n\nZürich 🔩<|im_end|>",
    ]
    long = preview_row(bundle, answer("x" * 5000), file="train", number=8)
    learned = next(piece.text for piece in long.pieces if piece.has_loss)
    assert len(learned) < SHOWN_CHARACTERS + 50
    assert "characters more]" in learned
