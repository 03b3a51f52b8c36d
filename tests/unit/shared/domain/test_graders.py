"""What graders may be given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.domain.graders import Grader, judges_named, simple_graders

READ = TypeAdapter[Any](Grader)
EXACT = {"name": "exact", "type": "string_check"}


def judge(name: str = "tone", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "score_model",
        "endpoint": "judge",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
        **changes,
    }


def multi(**graders: Any) -> dict[str, Any]:
    return {"name": "both", "type": "multi", "graders": graders, "calculate_output": "right"}


def test_graders_inside_a_multi_are_named_by_their_keys_and_found() -> None:
    found = [READ.validate_python(spec) for spec in (multi(right={"type": "string_check"}, tone=judge()), EXACT)]
    assert [one.name for one in simple_graders(found)] == ["right", "tone", "exact"]


def test_each_judge_is_named_once_in_order() -> None:
    specs = [judge("a", endpoint="two"), multi(right=judge("right", endpoint="one")), judge("c", endpoint="two"), EXACT]
    assert judges_named(map(READ.validate_python, specs)) == ["two", "one"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "x", "type": "label_model"}, "label_model is not built"),
        ({"name": "x", "type": "endpoint"}, "a job calls no address"),
        (multi(right={"name": "other", "type": "string_check"}), "has another name"),
        (multi(right={"type": "string_check", "weight": 2}), "weights inside a multi grader have no effect"),
        (multi(right={"type": "string_check", "veto": True}), "veto inside a multi grader has no effect"),
        (multi(right={"type": "endpoint"}), "a job calls no address"),
        (judge(range=[1, 1]), "two finite numbers"),
        (judge(range=[0, float("inf")]), "a finite number"),
        (judge(pass_threshold=0.0), "it decides nothing"),
        (judge(pass_threshold=1.1), "it decides nothing"),
        (judge(input=[{"role": "system", "content": "x"}]), "must be the user's"),
        ({"name": "x", "type": "absent"}, "terms or patterns must name what is looked for"),
        ({**EXACT, "weight": 0}, "greater than 0"),
    ],
)
def test_a_grader_that_makes_no_sense_is_refused(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        READ.validate_python(spec)


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0])
def test_a_threshold_inside_the_range_is_taken(threshold: float) -> None:
    assert READ.validate_python(judge(pass_threshold=threshold)).pass_threshold == threshold
