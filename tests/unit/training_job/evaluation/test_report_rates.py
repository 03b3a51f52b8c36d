"""Sensitivity, specificity and pairs that are answered alike, with their intervals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.domain.graders import Grader
from training_job.evaluation.report import label_rates, pairs_alike, share

TRIAGE = {"name": "triage", "type": "label", "labels": ["routine", "Urgent"], "reference": "{{item.level}}"}
READ = TypeAdapter[Any](Grader).validate_python


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(10, 10, 0.7225, 1), (0, 10, 0, 0.2775), (73, 73, 0.95, 1), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1)],
)
def test_the_interval_is_wilsons(hits: int, rows: int, low: float, high: float) -> None:
    found = share(hits, rows, 0.95)
    assert found is not None
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)
    assert share(0, 0, 0.95) is None


def test_each_label_has_its_sensitivity_and_specificity() -> None:
    answers = ["urgent", "urgent", "routine", "not urgent", "urgent", "routine or urgent", "routine"]
    levels = ["urgent", "urgent", "urgent", "urgent", "routine", "routine", "soon"]
    items = [{"level": level} for level in levels]
    inside = {"name": "both", "type": "multi", "graders": {"t": {**TRIAGE, "name": "t"}}, "calculate_output": "t"}
    for grader, name in ((TRIAGE, "triage"), (inside, "t")):
        rates = label_rates([READ(grader)], answers, items, 0.95)
        counts = [
            (one.grader, one.label, one.sensitivity and (one.sensitivity.hits, one.sensitivity.rows)) for one in rates
        ]
        assert counts == [(name, "routine", (0, 2)), (name, "urgent", (2, 4))]
        spared = [one.specificity and (one.specificity.hits, one.specificity.rows) for one in rates]
        assert spared == [(3, 4), (1, 2)]


def test_a_label_that_no_row_has_has_no_sensitivity() -> None:
    [routine, urgent] = label_rates([READ(TRIAGE)], ["urgent"], [{"level": "urgent"}], 0.95)
    assert (routine.sensitivity, urgent.specificity) == (None, None)


def test_an_answer_that_cannot_be_read_names_no_label() -> None:
    grader = READ({**TRIAGE, "input": "{{sample.output_json.level}}"})
    answers = ['{"level": "urgent"}', "urgent", "[" * 5000, '{"level": "routine"}', "{}"]
    items = [{"level": level} for level in ("urgent", "urgent", "urgent", "routine", "routine")]
    routine, urgent = label_rates([grader], answers, items, 0.95)
    counts = [(one.hits, one.rows) for one in (urgent.sensitivity, routine.sensitivity, urgent.specificity) if one]
    assert counts == [(1, 3), (1, 2), (2, 2)]


def test_a_label_that_stands_twice_is_counted_once() -> None:
    grader = READ({**TRIAGE, "labels": ["urgent", "routine", "Urgent"]})
    assert [one.label for one in label_rates([grader], [], [], 0.95)] == ["urgent", "routine"]


@pytest.mark.parametrize(
    ("answers", "alike"),
    [
        (["Dear Ann Lee, no: debts.", "Dear  Omar Aziz, No: debts."], 1),
        (["Dear Ann Lee, no: debts.", "Dear Omar Aziz, no: your papers."], 0),
        (["Dear Ann Lee, no.", "Dear Ann Lee, no."], 0),
        (["No.", "Yes."], 0),
    ],
    ids=["only the name", "the reason too", "the name of the other", "the answer"],
)
def test_a_pair_is_alike_where_only_the_rows_own_name_differs(answers: list[str], alike: int) -> None:
    items = [{"case": 7, "name": ["Ann Lee", "Ann"]}, {"case": 7, "name": "Omar Aziz"}, {"case": 8, "name": "B"}, {}]
    found = pairs_alike("case", [*answers, "alone", "in none"], items, 0.95)
    assert found is not None
    assert (found.hits, found.rows) == (alike, 1)


def test_rows_that_are_all_alone_are_no_pairs() -> None:
    assert pairs_alike("case", ["a", "b"], [{"case": 1}, {"case": 2}], 0.95) is None


def test_rows_without_a_pair_or_a_name_are_no_pair_and_have_nothing_to_mask() -> None:
    items: list[dict[str, Any]] = [
        {"case": ""},
        {"case": " "},
        {"case": None},
        {"case": "A 1", "name": None},
        {"case": "a  1 ", "name": "Ann"},
    ]
    found = pairs_alike("case", ["x", "y", "z", "no", "No"], items, 0.95)
    assert found is not None
    assert (found.hits, found.rows) == (1, 1)


def test_names_in_scripts_without_blanks_are_masked() -> None:
    items = [{"case": 1, "name": "\u738b\u82b3"}, {"case": 1, "name": "\u674e\u5f3a"}]
    found = pairs_alike(
        "case",
        ["\u5c0a\u656c\u7684\u738b\u82b3\u5973\u58eb", "\u5c0a\u656c\u7684\u674e\u5f3a\u5973\u58eb"],
        items,
        0.95,
    )
    assert found is not None
    assert found.hits == 1


def test_names_in_json_are_masked() -> None:
    items = [{"case": 1, "name": "Ann"}, {"case": 1, "name": "Jos\u00e9"}]
    answers = [json.dumps({"letter": f"Dear\n{item['name']}, no."}) for item in items]
    found = pairs_alike("case", answers, items, 0.95)
    assert found is not None
    assert found.hits == 1
