"""Curves in a terminal: braille plots and one-line sparklines."""

from collections.abc import Sequence

PlotPoint = tuple[int, float]

# Unicode numbers the dots of a braille cell column by column, the fourth row later: [row][column].
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_BARS = "▁▂▃▄▅▆▇█"


def plot(points: Sequence[PlotPoint], *, width: int = 60, height: int = 8) -> list[str]:
    """Draw a curve as `height` lines of `width` braille cells, labeled with its largest and smallest value.

    Points that are not finite are left out; nothing is drawn for fewer than two.
    """
    kept = _finite(points)
    if len(kept) < 2:
        return []
    low, high = min(value for _, value in kept), max(value for _, value in kept)
    cells = [[_BLANK] * width for _ in range(height)]
    for x, y in _line(kept, width * 2, height * 4, low, high):
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = [""] * height
    labels[-1], labels[0] = f"{low:.3g}", f"{high:.3g}"
    margin = max(map(len, labels))
    return [f"{label:>{margin}} ┤{''.join(map(chr, row))}" for label, row in zip(labels, cells, strict=True)]


def _line(points: Sequence[PlotPoint], columns: int, rows: int, low: float, high: float) -> list[tuple[int, int]]:
    """One dot per column at the curve's height, joined upright where it jumps; row 0 is on top."""
    first, last = points[0][0], points[-1][0]
    dots: list[tuple[int, int]] = []
    index, before = 0, None
    for x in range(columns):
        step = first + (last - first) * x / (columns - 1)
        while index < len(points) - 2 and points[index + 1][0] <= step:
            index += 1
        value = _between(points[index], points[index + 1], step)
        share = (value - low) / (high - low) if high > low else 0.5
        y = round((1 - share) * (rows - 1))
        top, bottom = sorted((y, y if before is None else before))
        dots += [(x, row) for row in range(top, bottom + 1) if row == y or row != before]
        before = y
    return dots


def _between(left: PlotPoint, right: PlotPoint, step: float) -> float:
    if right[0] == left[0]:
        return right[1]
    share = min(max((step - left[0]) / (right[0] - left[0]), 0.0), 1.0)
    return left[1] + (right[1] - left[1]) * share


def sparkline(points: Sequence[PlotPoint], *, width: int = 20) -> str:
    """The curve as one line of at most `width` bars; empty for fewer than two points."""
    values = [value for _, value in _finite(points)]
    if len(values) < 2:
        return ""
    count = min(width, len(values))
    picked = [values[i * (len(values) - 1) // (count - 1)] for i in range(count)]
    low, high = min(picked), max(picked)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in picked)


def _finite(points: Sequence[PlotPoint]) -> list[PlotPoint]:
    """Sorted by step, the last value of a step wins: a resumed job logs a step again."""
    by_step = {step: value for step, value in points if abs(value) < float("inf")}
    return sorted(by_step.items())
