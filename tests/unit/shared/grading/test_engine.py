"""Whatever an answer or a row holds, grading ends, in time, and without raising."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.domain.graders import Grader
from shared.grading import Engine

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
