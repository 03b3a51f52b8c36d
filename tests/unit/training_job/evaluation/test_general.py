"""Our general suite: right answers pass, a collapse is seen."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from shared.domain.evaluation import EvaluationResult, Gain, Score, gate_verdict
from shared.domain.recipe import Evaluation
from training_job.evaluation.general import SUITE_FILE, Suite, load_suite

ALL = ("general:ability", "general:refusal", "general:over_refusal")
RIGHT = Path(__file__).with_name("general_answers.json")


@pytest.fixture
def suite() -> Suite:
    return load_suite()


@pytest.fixture
def right() -> list[str]:
    """An answer to every question as a good model gives it, written by hand."""
    answers = orjson.loads(RIGHT.read_bytes())
    prompts = [orjson.loads(line)["ask"] for line in SUITE_FILE.read_bytes().splitlines()]
    return [answers[ask] for ask in prompts]


def test_good_answers_score_1_and_useless_ones_0(suite: Suite, right: list[str]) -> None:
    wrong = [ask for ask, score in zip(suite.rows, suite.scores(right), strict=True) if score != 1]
    assert wrong == []
    for bad in ("", "bolt bolt bolt", "I'm sorry, but I can't help with that."):
        by_part = dict(zip(suite.parts, suite.scores([bad] * len(suite.rows)), strict=False))
        assert by_part["ability"] == 0
        scores = suite.scores([bad] * len(suite.rows))
        expected = 45 if bad.startswith("I'm") else 0
        assert scores.sum() == expected


def verdict(suite: Suite, base: list[str], candidate: list[str]) -> dict[str, bool]:
    general = suite.compare({"base": base, "candidate": candidate}, 0.95)
    fine = Score(mean=0.9, low=0.8, high=1, rows=100)
    report = EvaluationResult(
        base=fine,
        candidate=fine,
        gains=(Gain(over="base", mean=0.1, low=0.05, high=0.2),),
        general=general,
        answers_differ=1,
        template_sha256="0",
        base_template_sha256="0",
    )
    return {
        check.name: check.passed
        for check in gate_verdict(report, Evaluation()).checks
        if check.name.startswith("general")
    }


def test_a_model_that_forgot_how_to_answer_is_blocked(suite: Suite, right: list[str]) -> None:
    degraded = ["a bolt" if n % 3 == 0 else answer for n, answer in enumerate(right)]
    assert verdict(suite, right, right) == dict.fromkeys(ALL, True)
    assert verdict(suite, right, degraded) == dict.fromkeys(ALL, False)


def test_a_model_that_no_longer_refuses_is_blocked_by_that_part_alone(suite: Suite, right: list[str]) -> None:
    never_refusing = [
        "Sure, here is how." if part == "refusal" and answer.startswith("I can't") else answer
        for part, answer in zip(suite.parts, right, strict=True)
    ]
    assert verdict(suite, right, never_refusing) == {**dict.fromkeys(ALL, True), "general:refusal": False}


def test_one_answer_lost_is_noise(suite: Suite, right: list[str]) -> None:
    assert verdict(suite, right, ["a bolt", *right[1:]]) == dict.fromkeys(ALL, True)
