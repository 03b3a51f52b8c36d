"""Facts of a JSON answer against those of the row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.grading.errors import GradingErrorCode

FACTS = {"type": "facts", "reference": "{{item.facts}}"}
ROW = {
    "complaint": {"one_of": ["chest pain", "CP"]},
    "history": "hypertension",
    "fever": None,
    "age": 54,
    "drugs": ["aspirin", {"one_of": ["paracetamol", "acetaminophen"]}],
    "vitals": {"bp": "120/80", "hr": None},
}
RIGHT = {
    "complaint": "Chest  pain",
    "history": "hypertension",
    "fever": None,
    "age": "54",
    "drugs": ["acetaminophen", "Aspirin"],
    "vitals": {"bp": "120/80"},
}


@pytest.mark.parametrize(
    ("changes", "precision", "recall", "clean"),
    [
        ({}, 1, 1, 1),
        ({"fever": "unknown", "vitals": {"bp": "120/80", "hr": ""}}, 1, 1, 1),
        ({"complaint": "cp", "age": 54.0}, 1, 1, 1),
        ({"fever": "yes"}, 6 / 7, 1, 0),
        ({"fever": False}, 6 / 7, 1, 0),
        ({"complaint": "denies chest pain"}, 5 / 6, 5 / 6, 0),
        ({"complaint": "hypertension", "history": "chest pain"}, 4 / 6, 4 / 6, 0),
        ({"drugs": ["aspirin"]}, 1, 5 / 6, 1),
        ({"drugs": ["aspirin", "paracetamol", "gentamicin"]}, 6 / 7, 1, 0),
        ({"drugs": "aspirin"}, 1, 5 / 6, 1),
        ({"allergies": "penicillin"}, 6 / 7, 1, 0),
        ({"history": ["hypertension", "diabetes"]}, 6 / 7, 1, 0),
        ({"history": None}, 1, 5 / 6, 1),
        ({"vitals": {"bp": "80/120"}}, 5 / 6, 5 / 6, 0),
        ({"complaint": {"one_of": ["chest pain", "stroke"]}}, 5 / 7, 5 / 6, 0),
        ({"age": "54 or 60"}, 5 / 6, 5 / 6, 0),
    ],
    ids=lambda case: json.dumps(case) if isinstance(case, dict) else None,
)
def test_what_is_invented_swapped_denied_or_left_out_is_measured_apart(
    changes: dict[str, Any], precision: float, recall: float, clean: float, score: Any
) -> None:
    answer = json.dumps(RIGHT | changes)
    measures = ("precision", "recall", "f1", "no_hallucination")
    measured = [score({**FACTS, "measure": measure}, answer, facts=ROW) for measure in measures]
    assert measured == pytest.approx([precision, recall, 2 * precision * recall / (precision + recall), clean])


def test_silence_invents_nothing_and_earns_nothing_else(score: Any) -> None:
    measures = ("precision", "recall", "f1", "no_hallucination")
    assert [score({**FACTS, "measure": m}, "{}", facts=ROW) for m in measures] == [0, 0, 0, 1]
    assert [score({**FACTS, "measure": m}, '{"a": null}', facts={"a": None}) for m in measures] == [1, 1, 1, 1]
    assert [score({**FACTS, "measure": m}, '{"a": 1}', facts={"a": None}) for m in measures] == [0, 0, 0, 0]


def test_an_object_in_a_list_is_one_fact_so_its_pairs_stay_together(score: Any) -> None:
    row = {"drugs": [{"name": "aspirin", "mg": 100}, {"name": "ramipril", "mg": 5}]}
    swapped = {"drugs": [{"name": "aspirin", "mg": 5}, {"mg": 100, "name": "ramipril"}]}
    right = {"drugs": [{"mg": "5.0", "name": "Ramipril", "form": None}, {"name": "aspirin", "mg": 100}]}
    assert [score(FACTS, json.dumps(answer), facts=row) for answer in (swapped, right)] == [0, 1]


def test_slots_narrow_what_counts(score: Any) -> None:
    answer = json.dumps(RIGHT | {"fever": "yes", "vitals": {"bp": "1/1"}})
    for slots, expected in ((["complaint", "drugs"], 1), (["vitals"], 0), (["vitals.hr", "age"], 1), (["fever"], 0)):
        assert score({**FACTS, "slots": slots}, answer, facts=ROW) == expected, slots


def test_facts_may_be_a_part_of_the_answer(score: Any) -> None:
    spec = {**FACTS, "input": "{{sample.output_json.facts}}"}
    assert score(spec, json.dumps({"facts": RIGHT, "summary": "free text"}), facts=ROW) == 1


@pytest.mark.parametrize("text", ["", "chest pain", "[]", "3", '{"a": 1', '{"complaint": "stroke", "complaint": "cp"}'])
def test_an_answer_that_is_no_object_scores_0_under_every_measure(text: str, grade: Any) -> None:
    for measure in ("precision", "recall", "f1", "no_hallucination"):
        graded = grade({**FACTS, "measure": measure}, text, facts=ROW)
        assert (graded.score, [error.code for error in graded.errors]) == (0, [GradingErrorCode.SAMPLE_PARSE])


@pytest.mark.parametrize("facts", [[], "x", {"a": {"one_of": "x"}}, {"a": {"one_of": []}}], ids=repr)
def test_a_row_whose_facts_are_no_slots_is_an_error(facts: Any, grade: Any) -> None:
    assert grade(FACTS, "{}", facts=facts).errors[0].code == GradingErrorCode.INVALID_VARIABLE
