"""Text similarity, 0 to 1. Words are those of ROUGE's reference package: runs of ASCII letters and digits, lower case.
n-grams are counted here: packages that do (nltk, sacrebleu, rouge-score) are far heavier; tests compare."""

import math
import re
from collections import Counter

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from shared.domain.graders import SimilarityMetric

_WORD = re.compile(r"[a-z0-9]+")
_MAX_ORDER = 4


def similarity(metric: SimilarityMetric, answer: str, reference: str) -> float:
    if metric == "fuzzy_match":
        # Not WRatio: it forgives missing halves, and takes minutes for two long texts.
        return fuzz.ratio(answer, reference) / 100
    answered, expected = _WORD.findall(answer.lower()), _WORD.findall(reference.lower())
    if not answered or not expected:
        return float(answered == expected)
    if metric == "rouge_l":
        return _f1(LCSseq.similarity(answered, expected), len(answered), len(expected))
    if metric == "bleu":
        return bleu(answered, expected)
    if metric == "gleu":
        return gleu(answered, expected)
    order = int(metric.removeprefix("rouge_"))
    return _f1(_matches(answered, expected, order), _count(answered, order), _count(expected, order))


def bleu(answered: list[str], expected: list[str]) -> float:
    """Papineni et al. 2002 for one sentence, orders 1 to 4, smoothed by 0.1 (Chen and Cherry 2014, method 1)."""
    logarithms = 0.0
    for order in range(1, _MAX_ORDER + 1):
        matches = _matches(answered, expected, order)
        if order == 1 and not matches:
            return 0.0
        logarithms += math.log((matches or 0.1) / max(1, _count(answered, order)))
    brevity = min(0.0, 1 - len(expected) / len(answered))
    return math.exp(brevity + logarithms / _MAX_ORDER)


def gleu(answered: list[str], expected: list[str]) -> float:
    """Wu et al. 2016, section 8.1: the smaller of precision and recall over all n-grams of 1 to 4 words."""
    orders = range(1, _MAX_ORDER + 1)
    matches = sum(_matches(answered, expected, order) for order in orders)
    return matches / max(sum(_count(words, order) for order in orders) for words in (answered, expected))


def _grams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _matches(answered: list[str], expected: list[str], order: int) -> int:
    return (_grams(answered, order) & _grams(expected, order)).total()


def _count(words: list[str], order: int) -> int:
    return max(0, len(words) - order + 1)


def _f1(matches: int, answered: int, expected: int) -> float:
    return 2 * matches / (answered + expected) if answered + expected else 0.0
