"""Curves in a terminal, with braille dots."""

from collections.abc import Sequence
from itertools import pairwise

PlotPoint = tuple[int, float]


def plot(points: Sequence[PlotPoint], *, width: int = 60, height: int = 8) -> list[str]:
    """Draw a curve as `height` lines of `width` braille cells, labeled with its largest and smallest value.

    Points that are beyond 1e300 or not finite are left out; nothing is drawn for fewer than two. The last value of a
    step wins: a resumed job logs a step again.
    """
    kept = sorted({step: value for step, value in points if abs(value) < 1e300}.items())
    if len(kept) < 2:
        return []
    from plotille import Canvas  # type: ignore[import-untyped]  # only where there is a curve

    low, high = min(value for _, value in kept), max(value for _, value in kept)
    flat = 0.0 if high - low > 1e-300 else max(abs(high), 1.0)  # drawn in the middle
    canvas = Canvas(width, height, kept[0][0], low - flat, kept[-1][0], high + flat)
    for start, end in pairwise(kept):
        canvas.line(*start, *end)
    labels = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"][:height]
    margin = max(map(len, labels))
    return [f"{label:>{margin}} ┤{row}" for label, row in zip(labels, canvas.plot().splitlines(), strict=True)]
