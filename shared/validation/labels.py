"""Answers that are labels: few different ones, each given often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Rows have labels where the answers that are given more than once make up this share: the rest are slips and notes.
COVERAGE = 0.9
# Rows for each different answer, on average. With fewer they are phrases that happen to come twice.
_ROWS_A_LABEL = 3
# So few may be labels whatever the number of rows, and of more rows a tenth: a held-out share of the usual size holds
# one row of each.
_ALWAYS_FEW, _FEW_SHARE = 20, 0.1
MAX_LABELS = 10_000


class LabelCount(NamedTuple):
    """An answer, as `compared.label_key`: rows that give it, and groups of rows that have to stay together."""

    key: int
    rows: int
    groups: int


@dataclass(frozen=True, slots=True)
class Labels:
    """`classifies`: nearly all rows answer with a label, and `counts` are all labels, most rows first.

    Elsewhere `counts` are the answers that are frequent enough for the split to draw them by their share.
    """

    counts: tuple[LabelCount, ...]
    classifies: bool


def find_labels(repeated: list[LabelCount], rows: int, share: float) -> Labels:
    """`repeated`: the answers that two rows or more give, most rows first, `MAX_LABELS` and one at most.

    `share`: of the rows, held out. Of an answer that `rows * share` holds once or more, its share can be drawn.
    """
    labels = tuple(repeated[:MAX_LABELS])
    few = 1 < len(repeated) <= max(_ALWAYS_FEW, _FEW_SHARE * rows) and len(repeated) * _ROWS_A_LABEL <= rows
    if few and sum(label.rows for label in labels) >= COVERAGE * rows:
        return Labels(labels, classifies=True)
    return Labels(tuple(label for label in labels if label.rows * share >= 1), classifies=False)
