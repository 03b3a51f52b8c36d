"""Whatever an answer or a row holds, grading ends, in time, and without raising."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.domain.graders import Grader
from shared.grading.engine import Engine, given_to_any_answer

SPECS: list[dict[str, Any]] = [
    {"type": "string_check"},
    {"type": "string_check", "input": "{{sample.output_json.a}}"},
    {"type": "text_similarity", "evaluation_metric": "fuzzy_match"},
    {"type": "text_similarity", "evaluation_metric": "rouge_l"},
    {"type": "text_similarity", "evaluation_metric": "bleu"},
    {"type": "regex", "pattern": "^{{item.answer}}$"},
    {"type": "citation", "pattern": r"\\d+", "reference": "{{item.answer}}"},
    {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"$ref": "#"}}}},
    {"type": "label", "labels": ["a", "b"]},
    {"type": "reading_level", "max_grade": 8},
    {"type": "step_order", "reference": "{{item.answer}}"},
    {"type": "facts", "reference": "{{item.answer}}"},
    {"type": "facts", "reference": "{{item.answer}}", "measure": "no_hallucination"},
    {"type": "brier", "reference": "{{item.answer}}"},
    {"type": "absent", "terms": ["{{item.answer}}", "b"]},
    {"type": "label", "labels": ["a", "b"], "measure": "not_below", "reference": "b"},
    {"type": "citation", "pattern": r"(\w)(\d)", "reference": "{{item.answer}}"},
    {"type": "refusal", "reference": "{{item.answer}}"},
]
GRADERS = [TypeAdapter(Grader).validate_python({"name": f"g{n}", **spec}) for n, spec in enumerate(SPECS)]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(text=st.text() | ANY_JSON.map(json.dumps), answer=ANY_JSON)
def test_any_answer_and_any_row_are_graded_or_named_as_an_error(text: str, answer: Any) -> None:
    with Engine(GRADERS) as engine:
        [grade] = engine.grade([text], [{"answer": answer}])
    for grader in GRADERS:
        assert (grader.name in grade.parts) or any(error.grader == grader.name for error in grade.errors)
    assert all(0 <= score <= 1 for score in grade.parts.values())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        "a" * 100_000,
        "1 " * 50_000,
        "\ud800 half a pair",
        "NaN",
        "1" * 10_000,
    ],
)
def test_answers_made_to_break_graders_are_graded_all_the_same(text: str) -> None:
    with Engine(GRADERS) as engine:
        [grade] = engine.grade([text], [{"answer": "b" * 20_000}])
    assert set(grade.parts) | {error.grader for error in grade.errors} == {grader.name for grader in GRADERS}


def test_a_constant_that_is_not_json_is_none() -> None:
    grader = TypeAdapter(Grader).validate_python({"name": "g", "type": "json_schema", "json_schema": {}})
    with Engine([grader]) as engine:
        assert [grade.score for grade in engine.grade(["NaN", "null"], [{}, {}])] == [0, 1]


ANYTHING: list[dict[str, Any]] = [
    {"type": "string_check", "operation": "like", "reference": ""},
    {"type": "string_check", "input": "a", "reference": "a"},
    {"type": "string_check", "reference": "{{sample.output_text}}"},
    {"type": "text_similarity", "evaluation_metric": "fuzzy_match", "input": "{{item.a}}", "reference": "{{item.a}}"},
    {"type": "regex", "pattern": "x|", "veto": True},
    {"type": "regex", "pattern": "^.*"},
    {"type": "regex", "pattern": "a", "input": "a"},
    {"type": "absent", "terms": ["b"], "input": "{{item.a}}"},
    {"type": "python", "source": "def grade(sample, item):\n    return item['score']"},
    {"type": "python", "source": "class grade: pass\ndef grade(sample, item):\n    return item['score']"},
    {"type": "multi", "graders": {"a": {"type": "regex", "pattern": ".*"}}, "calculate_output": "a"},
    {
        "type": "multi",
        "graders": {"right": {"type": "string_check"}},
        "calculate_output": "0.8 + 0.2 * right",
    },
]
GUARDS: list[dict[str, Any]] = [
    {"type": "absent", "terms": ["password"]},
    {"type": "absent", "terms": ["{{item.patient}}"]},
    {"type": "string_check", "operation": "ne", "reference": "I am sure."},
    {"type": "regex", "pattern": "(?s)^.{0,500}$"},
    {"type": "regex", "pattern": "^[^<]*$"},
    {"type": "regex", "pattern": r"\b"},
    {"type": "regex", "pattern": "{{item.a}}"},
    {"type": "string_check", "input": "{{item.a}}", "reference": "{{sample.output_text}}"},
    {"type": "multi", "graders": {"a": {"type": "string_check"}}, "calculate_output": "0.8 * a"},
    {"type": "reading_level", "max_grade": 20},
    {"type": "refusal", "reference": "false"},
    {"type": "python", "source": "def grade(sample, item):\n    return float('cure' not in sample['output_text'])"},
]


def test_graders_that_give_a_score_to_any_answer_are_told_from_those_that_look_for_faults() -> None:
    specs = [{"name": f"g{n}", **spec} for n, spec in enumerate([*ANYTHING, *SPECS, *GUARDS])]
    graders = [TypeAdapter(Grader).validate_python(spec) for spec in specs]
    assert given_to_any_answer(graders) == [f"g{n}" for n in range(len(ANYTHING))]
