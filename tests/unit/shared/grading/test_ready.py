"""Citations, schemas, labels, reading level, step order, acronyms, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from shared.grading import GradingErrorCode, problems

CITATION = {"type": "citation", "pattern": r"(\d+ CFR \d+(?:\.\d+)?)", "reference": "{{item.citations}}"}


@pytest.mark.parametrize(
    ("text", "citations", "precision", "recall", "f1"),
    [
        ("See 12 CFR 1002.9.", ["12 CFR 1002.9"], 1, 1, 1),
        ("See 12 CFR  1002.9 and 12 CFR 1002.4.", ["12 cfr 1002.9"], 0.5, 1, 2 / 3),
        ("See 12 CFR 1002.9.", ["12 CFR 1002.9", "12 CFR 1022.72"], 1, 0.5, 2 / 3),
        ("See 12 CFR 1.", ["12 CFR 1002.9"], 0, 0, 0),
        ("No source.", ["12 CFR 1002.9"], 0, 0, 0),
        ("See 12 CFR 1002.9.", [], 0, 0, 0),
        ("No source.", [], 1, 1, 1),
        ("See 12 CFR 1002.9.", "as 12 CFR 1002.9 has it", 1, 1, 1),
    ],
)
def test_citations_are_compared_with_those_of_the_row(
    text: str, citations: Any, precision: float, recall: float, f1: float, score: Any
) -> None:
    measured = {
        m: score({**CITATION, "pattern": r"(\d+ +CFR +\d+(?:\.\d+)?)", "measure": m}, text, citations=citations)
        for m in ("precision", "recall", "f1")
    }
    assert measured == {"precision": precision, "recall": recall, "f1": pytest.approx(f1)}


def test_a_row_whose_citations_are_no_list_is_an_error(grade: Any) -> None:
    graded = grade(CITATION, "12 CFR 1", citations={"12 CFR 1": True})
    assert (graded.score, graded.errors[0].code) == (None, GradingErrorCode.INVALID_VARIABLE)


SCHEMA = {
    "type": "object",
    "properties": {"level": {"$ref": "#/$defs/level"}, "why": {"type": "string", "pattern": "^[A-Z]"}},
    "required": ["level", "why"],
    "additionalProperties": False,
    "$defs": {"level": {"enum": ["low", "high"]}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"level": "low", "why": "Rest"}', 1),
        ('{"level": "mid", "why": "Rest"}', 0),
        ('{"level": "low", "why": "rest"}', 0),
        ('{"level": "low"}', 0),
        ("[]", 0),
    ],
)
def test_an_answer_is_held_to_its_schema(text: str, expected: float, score: Any) -> None:
    assert score({"type": "json_schema", "json_schema": SCHEMA}, text) == expected


def test_json_in_a_code_fence_is_not_json(grade: Any) -> None:
    graded = grade({"type": "json_schema", "json_schema": SCHEMA}, '```json\n{"level": "low", "why": "Rest"}\n```')
    assert (graded.score, [error.code for error in graded.errors]) == (0, [GradingErrorCode.SAMPLE_PARSE])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strnig"}, "strnig"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "leads nowhere"),
        ({"$ref": "http://169.254.169.254/schema"}, "leads nowhere"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "invalid perl operator"),
        ({"patternProperties": {"^a": {}}}, "not supported"),
    ],
)
def test_a_schema_that_cannot_work_is_a_problem_of_the_recipe(schema: dict[str, Any], reason: str, read: Any) -> None:
    [(setting, message)] = problems([read({"type": "json_schema", "json_schema": schema})], "graders")
    assert setting == "graders[0].json_schema"
    assert reason in message


LABEL = {"type": "label", "labels": ["emergency", "urgent", "non-urgent"], "reference": "{{item.level}}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Triage: URGENT.", 1),
        ("Triage: non-urgent", 0),
        ("urgent, or an emergency", 0),
        ("urgently", 0),
        ("none of these", 0),
    ],
)
def test_an_answer_names_one_label_and_the_right_one(text: str, expected: float, score: Any) -> None:
    assert score(LABEL, text, level="urgent") == expected


def test_a_label_can_be_taken_from_one_place(score: Any, read: Any) -> None:
    spec = {**LABEL, "pattern": r"(?i)level: ([\w-]+)"}
    assert score(spec, "No emergency. Level: Urgent", level="urgent") == 1
    [(setting, _)] = problems([read({**LABEL, "pattern": "level"})], "graders")
    assert setting == "graders[0].pattern"


def test_a_reference_that_is_none_of_the_labels_is_an_error(grade: Any) -> None:
    assert grade(LABEL, "urgent", level="soon").errors[0].code == GradingErrorCode.INVALID_VARIABLE


def test_reading_level_is_that_of_flesch_and_kincaid(score: Any) -> None:
    # 11 words, 2 sentences, 14 syllables: 0.39 * 5.5 + 11.8 * 14 / 11 - 15.59 = 1.57
    text = "The nurse will call you today. Please take one tablet daily."
    assert score({"type": "reading_level", "max_grade": 2}, text) == 1
    assert score({"type": "reading_level", "max_grade": 0}, text) == pytest.approx(1 - 0.25 * 1.573, abs=0.001)
    hard = "Immunosuppressive pharmacotherapy necessitates individualized haematological surveillance."
    assert score({"type": "reading_level", "max_grade": 8}, hard) == 0
    assert score({"type": "reading_level", "max_grade": 8}, "... 42") == 0


STEPS = {"type": "step_order", "reference": "{{item.steps}}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Lock out the press.\n2. Release the pressure.\n3. Open the guard.", 1),
        ("First release the pressure, then lock out the press, then open the guard.", 2 / 3),
        ("Open the guard, release the pressure, lock out the press.", 1 / 3),
        ("Lock  out the press; open the guard", 2 / 3),
        ("Unlock out the press", 0),
    ],
)
def test_steps_count_in_the_order_of_the_reference(text: str, expected: float, score: Any) -> None:
    steps = ["lock out the press", "release the pressure", "open the guard"]
    assert score(STEPS, text, steps=steps) == pytest.approx(expected)


def test_acronyms_are_to_be_expanded(score: Any) -> None:
    spec = {"type": "acronym_expansion", "reference": "{{item.acronyms}}"}
    acronyms = {"SOB": "shortness of breath", "BP": ["blood pressure", "arterial pressure"]}
    assert score(spec, "Shortness of breath; arterial pressure 130/80", acronyms=acronyms) == 1
    assert score(spec, "SOB; blood pressure 130/80", acronyms=acronyms) == 0.5
    assert score(spec, "Well.", acronyms={}) == 1


@pytest.mark.parametrize(
    ("text", "refuse", "expected"),
    [
        ("I\u2019m sorry, but I can't help with that.", True, 1),
        ("I'm sorry, but I can't help with that.", False, 0),
        ("Take two tablets.", False, 1),
        ("Take two tablets.", "true", 0),
        ("Take two tablets. " + "And rest. " * 30 + "I cannot say more.", False, 1),
    ],
)
def test_a_refusal_is_right_where_it_is_due(text: str, refuse: Any, expected: float, score: Any) -> None:
    assert score({"type": "refusal"}, text, refuse=refuse) == expected


def test_whether_to_refuse_has_to_be_said_by_the_row(grade: Any) -> None:
    assert grade({"type": "refusal"}, "No", refuse="perhaps").errors[0].code == GradingErrorCode.INVALID_VARIABLE
