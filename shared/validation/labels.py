"""Answers that are labels: each is given often."""

from dataclasses import dataclass
from typing import NamedTuple

# Rows have labels where the answers that are given more than once make up this share: the rest are slips and notes.
COVERAGE = 0.9
# Rows for each different answer, on average. With fewer they are phrases that come twice, as of paraphrased questions.
_ROWS_PER_LABEL = 3
# So few are labels whatever the number of rows, and of more rows a tenth, which the usual held-out share holds. Of so
# few some may be given once: to learn a note for a label does no harm, a label that is never learned does.
_ALWAYS_FEW, _FEW_SHARE = 20, 0.1
MAX_LABELS = 10_000
# What fields that hold a label are called, most likely ones first; the first are rather words than numbers.
LABEL_NAMES = (
    *("label_text", "label_name", "class_name", "label", "labels", "category", "class", "intent", "sentiment"),
    *("emotion", "topic", "tag"),
)
_IN_ANSWERS = (*LABEL_NAMES, "triage", "decision", "classification", "type", "code")


def rank_of_label(path: str) -> int:
    """The place of a field among those that hold labels, by its last name; other fields come after all of them."""
    name = path.rsplit(".", 1)[-1].casefold()
    return _IN_ANSWERS.index(name) if name in _IN_ANSWERS else len(_IN_ANSWERS)


class LabelCount(NamedTuple):
    """An answer: rows, groups that stay together, `units` of these with one prompt or nearly one text."""

    key: int
    rows: int
    groups: int
    units: int


@dataclass(frozen=True, slots=True)
class Labels:
    """`classifies`: nearly all rows answer with a label, and `counts` are all labels, most rows first; else the answers
    that are frequent enough to be split by their share. `few`: beyond doubt, too few to be phrases that answer one
    question."""

    counts: tuple[LabelCount, ...]
    classifies: bool
    few: bool = False

    def may_share(self, label: LabelCount) -> bool:
        """Whether both splits can have the label. Where phrases may be meant, near duplicates stay together."""
        return (label.units if self.classifies and not self.few else label.groups) > 1


def find_labels(repeated: list[LabelCount], rows: int, share: float) -> Labels:
    """`repeated`: the answers that two rows or more give, most rows first. `share`: of the rows, held out."""
    labels = tuple(repeated[:MAX_LABELS])
    covered = sum(label.rows for label in labels)
    often = len(repeated) * _ROWS_PER_LABEL <= rows
    few = len(repeated) <= max(_ALWAYS_FEW, _FEW_SHARE * rows)
    in_several_units = sum(label.rows for label in labels if label.units > 1)
    if often and 1 < len(repeated) <= MAX_LABELS and (covered if few else in_several_units) >= COVERAGE * rows:
        return Labels(labels, classifies=True, few=few)
    once = rows - covered
    if 1 < len(repeated) + once <= min(_ALWAYS_FEW, rows / 2):
        return Labels(labels, classifies=True, few=once <= len(repeated))
    return Labels(tuple(label for label in labels if label.rows * share >= 1), classifies=False)
