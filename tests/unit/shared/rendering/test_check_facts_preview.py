"""Rows as the model reads them."""

from __future__ import annotations

from shared.rendering.check import SHOWN_CHARACTERS, preview_rows
from shared.rendering.rows import render_row
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS
from tests.unit.shared.rendering.support import answer


def test_a_preview_is_the_rendered_row_with_long_stretches_shortened() -> None:
    bundle = families.bundle("qwen", marked=True)
    row = ROWS["several turns"][0]
    (shown,) = preview_rows(bundle, row, file="train", number=7)
    assert "".join(piece.text for piece in shown.pieces) == render_row(bundle, row)[0].text
    assert [piece.text for piece in shown.pieces if piece.has_loss] == [
        "A bolt.<|im_end|>",
        "Twelve are in\n\nZürich 🔩<|im_end|>",
    ]
    (long,) = preview_rows(bundle, answer("x" * 5000), file="train", number=8)
    learned = next(piece.text for piece in long.pieces if piece.has_loss)
    assert len(learned) < SHOWN_CHARACTERS + 50
    assert "characters more]" in learned


def test_a_row_that_is_read_in_several_texts_is_shown_in_each() -> None:
    bundle, row = families.bundle("mistral", marked=False), ROWS["system and several turns"][0]
    shown = preview_rows(bundle, row, file="train", number=7)
    assert ["".join(piece.text for piece in text.pieces) for text in shown] == [
        "<s>[INST] Be brief.\n\nWhich part is this?[/INST] A bolt.</s>",
        "<s>[INST] Which part is this?[/INST] A bolt.</s>[INST] Be brief.\n\nThe size?[/INST] M5.</s>",
    ]
    assert [[piece.text for piece in text.pieces if piece.has_loss] for text in shown] == [
        [" A bolt.</s>"],
        [" M5.</s>"],
    ]
    assert [text.row for text in shown] == [7, 7]
