"""Likeness of texts, against the libraries that define it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from nltk.translate.gleu_score import sentence_gleu
from rapidfuzz import fuzz
from rouge_score.rouge_scorer import RougeScorer

from shared.grading.similarity import bleu, gleu, similarity

WORDS = "the claim was denied because policy section two needs prior approval by a doctor"


def sentence_pairs() -> list[tuple[list[str], list[str]]]:
    draw = random.Random(4)
    return [
        (draw.choices(WORDS.split(), k=draw.randint(1, 14)), draw.choices(WORDS.split(), k=draw.randint(1, 14)))
        for _ in range(200)
    ]


@pytest.mark.filterwarnings("ignore:.*hypothesis contains 0 counts")
def test_bleu_and_gleu_are_those_of_nltk() -> None:
    smoothing = SmoothingFunction(epsilon=0.1).method1
    for answer, reference in sentence_pairs():
        assert gleu(answer, reference) == pytest.approx(sentence_gleu([reference], answer))
        expected = sentence_bleu([reference], answer, smoothing_function=smoothing)
        assert bleu(answer, reference) == pytest.approx(expected)


def test_rouge_is_that_of_its_reference_package(score: Any) -> None:
    names = {f"rouge_{n}": f"rouge{n}" for n in range(1, 6)} | {"rouge_l": "rougeL"}
    scorer = RougeScorer(list(names.values()))
    for words, other_words in sentence_pairs():
        answer, reference = " ".join(words).capitalize() + ".", " ".join(other_words)
        expected = scorer.score(reference, answer)
        for ours, theirs in names.items():
            assert similarity(ours, answer, reference) == pytest.approx(expected[theirs].fmeasure), (ours, answer)  # type: ignore[arg-type]


def test_a_fuzzy_match_is_rapidfuzz_s(score: Any) -> None:
    spec = {"type": "text_similarity", "evaluation_metric": "fuzzy_match"}
    assert score(spec, "M5 x 40 mm", answer="M5 x 40") == fuzz.ratio("M5 x 40 mm", "M5 x 40") / 100
    assert score(spec, "a" * 50_000, answer="b" * 40_000) == 0
