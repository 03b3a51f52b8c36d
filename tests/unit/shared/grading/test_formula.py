"""Formulas over named graders."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.grading.engine import problems
from shared.grading.errors import GradingErrorCode
from shared.grading.formula import Formula

EXACT = {"type": "string_check"}
SHORT = {"type": "regex", "pattern": "^.{1,3}$"}


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("0.8 * a + 0.2 * b", {"a": 1, "b": 0.5}, 0.9),
        ("a * b ^ 2", {"a": 0.5, "b": 0.5}, 0.125),
        ("min(a, b, 1)", {"a": 0.25, "b": 0.5}, 0.25),
        ("max(a, b)", {"a": 0.25, "b": 0.5}, 0.5),
        ("abs(a - b)", {"a": 0.25, "b": 0.5}, 0.25),
        ("floor(a) + 0 * ceil(b)", {"a": 0.9, "b": 0.1}, 0),
        ("sqrt(a) * exp(-1 * b)", {"a": 0.25, "b": 0}, 0.5),
        ("log(1 + a * b) / log(2)", {"a": 1, "b": 1}, 1),
    ],
)
def test_arithmetic_has_the_operators_of_the_public_form(text: str, parts: dict[str, float], expected: float) -> None:
    assert Formula(text, parts)(parts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("a +", "not a formula"),
        ("a + c", "c is no grader of this multi"),
        ("a", "b is not used"),
        ("a.b * b", "are all there is"),
        ("__import__('os').system('true') + a + b", "are all there is"),
        ("(lambda: a)() + b", "are all there is"),
        ("a if b else 0", "are all there is"),
        ("sqrt(a, b)", "sqrt takes one value"),
        ("a + b", "calculate_output is 2, a score is 0 to 1, where a = 1, b = 1"),
        ("a / b", "fails (ZeroDivisionError), where a = 0, b = 0"),
        ("log(a) + b", "fails (ValueError), where a = 0, b = 0"),
        ("a * b * 9 ^ 9 ^ 9 ^ 9", "fails (OverflowError)"),
        ("(" * 300 + "a*b" + ")" * 300, "not a formula"),
    ],
)
def test_a_formula_that_cannot_work_is_a_problem_of_the_recipe(formula: str, reason: str, read: Any) -> None:
    spec = {"type": "multi", "graders": {"a": EXACT, "b": SHORT}, "calculate_output": formula}
    [(setting, message)] = problems([read(spec)], "evaluation.graders")
    assert setting == "evaluation.graders[0].calculate_output"
    assert reason in message


def test_a_problem_inside_a_multi_has_its_path(read: Any) -> None:
    spec = {"type": "multi", "graders": {"a": {"type": "regex", "pattern": "("}}, "calculate_output": "a"}
    assert problems([read(spec)], "g")[0][0] == "g[0].graders.a.pattern"


def test_a_multi_reports_its_parts(grade: Any) -> None:
    spec = {"type": "multi", "graders": {"a": EXACT, "b": SHORT}, "calculate_output": "0.75 * a + 0.25 * b"}
    graded = grade(spec, "M6", answer="M5")
    assert (graded.score, graded.parts) == (0.25, {"g": 0.25, "g.a": 0, "g.b": 1})


def test_a_part_that_fails_fails_the_whole(grade: Any) -> None:
    spec = {"type": "multi", "graders": {"a": EXACT, "b": SHORT}, "calculate_output": "0.75 * a + 0.25 * b"}
    graded = grade(spec, "M6")
    assert (graded.score, graded.parts) == (None, {"g.b": 1})
    assert [(error.grader, error.code) for error in graded.errors] == [("g.a", GradingErrorCode.INVALID_VARIABLE)]


def test_arithmetic_that_fails_for_one_answer_is_an_error_and_no_zero(grade: Any) -> None:
    half = {"type": "python", "source": "def grade(sample, item):\n    return 0.5"}
    spec = {"type": "multi", "graders": {"a": half}, "calculate_output": "4 * a * (1 - a) + 0.1 - 0.1 * abs(2 * a - 1)"}
    graded = grade(spec, "x")
    assert (graded.score, graded.errors[0].code) == (None, GradingErrorCode.FORMULA)


@pytest.mark.parametrize(
    ("graders", "reason"),
    [
        ({"a": {**EXACT, "weight": 2}}, "write them in calculate_output"),
        ({"a": {**EXACT, "name": "other"}}, "has another name"),
        ({"A": EXACT}, "String should match pattern"),
        ({"a": {"type": "multi", "graders": {"b": EXACT}, "calculate_output": "b"}}, "expected tags"),
        ({"a": {"type": "label_model"}}, "label_model is not built"),
    ],
)
def test_a_multi_holds_simple_graders_by_name(graders: dict[str, Any], reason: str, read: Any) -> None:
    with pytest.raises(ValidationError, match=reason):
        read({"type": "multi", "graders": graders, "calculate_output": "a"})
