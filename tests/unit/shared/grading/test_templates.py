"""Templates of graders."""

from __future__ import annotations

from typing import Any

import pytest

from shared.grading.engine import fields, problems
from shared.grading.errors import GradingErrorCode


def test_templates_read_rows_and_answers_with_or_without_spaces(score: Any, read: Any) -> None:
    spec = {
        "type": "string_check",
        "input": "{{ sample.output_json.part.code }}",
        "reference": "{{item.a}}-{{ item.b }}",
    }
    assert score(spec, '{"part": {"code": "SC-4"}}', a="SC", b=4) == 1
    assert fields([read(spec)]) == {"a", "b"}


@pytest.mark.parametrize("item", [{"meta": {"part": "SC"}}, {"meta.part": "SC"}])
def test_templates_read_fields_in_objects_by_their_paths(item: dict[str, Any], score: Any, read: Any) -> None:
    spec = {"type": "string_check", "reference": "{{item.meta.part}}"}
    assert score(spec, "SC", **item) == 1
    assert fields([read(spec)]) == {"meta.part"}


def test_an_answer_that_is_not_json_scores_0_and_says_so(grade: Any) -> None:
    graded = grade({"type": "string_check", "input": "{{sample.output_json.part}}"}, "no json", answer="x")
    assert (graded.score, graded.parts, graded.errors[0].code) == (0, {"g": 0}, GradingErrorCode.SAMPLE_PARSE)


def test_a_row_without_the_field_is_an_error_and_no_zero(grade: Any) -> None:
    graded = grade({"type": "string_check", "reference": "{{item.part}}"}, "x", answer="x")
    assert (graded.score, graded.parts) == (None, {})
    assert [(error.grader, error.code, error.message) for error in graded.errors] == [
        ("g", GradingErrorCode.INVALID_VARIABLE, "the row has no item.part")
    ]


@pytest.mark.parametrize("template", ["{{other.x}}", "{{item}}", "{{sample.output}}", "{{item.a", "{{ item.list[0] }}"])
def test_an_unknown_template_is_a_problem_of_the_recipe(template: str, read: Any) -> None:
    grader = read({"type": "string_check", "reference": template})
    [(setting, message)] = problems([grader], "evaluation.graders")
    assert setting == "evaluation.graders[0].reference"
    assert template in message
