"""Rows to look at: as the model reads them, with the tokens that loss falls on."""

from collections.abc import Iterator

from shared.domain.prompts import Row
from shared.domain.tokens import Piece, PreviewRow
from shared.rendering.bundle import Bundle
from shared.rendering.check import readings
from shared.rendering.rows import tokenize

SHOWN_CHARACTERS = 1200


def preview_row(bundle: Bundle, row: Row, *, file: str, number: int) -> PreviewRow:
    """One row, of a preference pair the preferred side. Raises as `render_row` does."""
    rendered = readings(bundle, row)[0]
    (tokens,) = tokenize(bundle, [rendered])
    bounds = tokens.encoding.offsets
    with_loss = [(bounds[first][0], bounds[last - 1][1]) for first, last in tokens.spans if first < last]
    return PreviewRow(
        file=file,
        row=number,
        tokens=len(tokens),
        trained_tokens=tokens.trained(),
        pieces=tuple(_pieces(rendered.text, with_loss)),
    )


def _pieces(text: str, with_loss: list[tuple[int, int]]) -> Iterator[Piece]:
    at = 0
    for start, end in [*with_loss, (len(text), len(text))]:
        if start > at:
            yield Piece(text=_shortened(text[at:start]), has_loss=False)
        if end > start:
            yield Piece(text=_shortened(text[start:end]), has_loss=True)
        at = end


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters more]\n{text[-half:]}"
