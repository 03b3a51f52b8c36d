"""Shares with Wilson's interval: sensitivity and specificity by label, and pairs of rows that are answered alike."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from shared.domain.evaluation import LabelRates, Share, wilson
from shared.domain.graders import Grader, Label, simple_graders
from shared.domain.recipe import PAIR_NAME
from shared.domain.row_fields import is_missing, value_at
from shared.grading.compiled import labels_read
from shared.grading.ready import masked, plain, terms_of


def share(hits: int, rows: int, confidence: float) -> Share | None:
    """With its interval; None of no rows."""
    if not rows:
        return None
    low, high = wilson(hits, rows, confidence)
    return Share(hits=hits, rows=rows, low=low, high=high)


def label_rates(
    graders: Sequence[Grader], texts: Sequence[str], items: Sequence[dict[str, Any]], confidence: float
) -> tuple[LabelRates, ...]:
    """By each `label` grader and each of its labels."""
    found = []
    for one in simple_graders(graders):
        if isinstance(one, Label):
            read = labels_read(one, texts, items)
            for label in dict.fromkeys(map(plain, one.labels)):
                inside = [named == label for named, right in read if right == label]
                outside = [named == label for named, right in read if right != label]
                sensitivity = share(sum(inside), len(inside), confidence)
                specificity = share(len(outside) - sum(outside), len(outside), confidence)
                found.append(LabelRates(grader=one.name, label=label, sensitivity=sensitivity, specificity=specificity))
    return tuple(found)


def pairs_alike(field: str, texts: Sequence[str], items: Sequence[dict[str, Any]], confidence: float) -> Share | None:
    """Groups of rows with one value of `field` whose answers are the same but for each row's own name."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text, item in zip(texts, items, strict=True):
        if not is_missing(item, field):
            answer = masked(text, terms_of(value_at(item, PAIR_NAME) or []))
            groups[plain(str(value_at(item, field)))].append(answer)
    alike = [len(set(answers)) == 1 for answers in groups.values() if len(answers) > 1]
    return share(sum(alike), len(alike), confidence)
