"""Text graders, templates and similarity."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from shared.domain.graders import PythonGrader, ScoreModel, SimpleGrader
from shared.grading.compiled import _BUILDERS
from shared.grading.engine import Engine


@pytest.mark.parametrize(
    ("operation", "text", "expected"),
    [
        ("eq", " M5 x 40 ", 1),
        ("eq", "m5 x 40", 0),
        ("ne", "m5 x 40", 1),
        ("like", "It is M5 x 40.", 1),
        ("like", "It is m5 x 40.", 0),
        ("ilike", "It is m5 x 40.", 1),
    ],
)
def test_a_string_check_compares_with_the_reference(operation: str, text: str, expected: float, score: Any) -> None:
    assert score({"type": "string_check", "operation": operation}, text, answer="M5 x 40") == expected


def test_a_list_of_graders_is_their_weighted_mean(grade: Any, read: Any) -> None:
    specs = [
        {"name": "exact", "type": "string_check", "weight": 3},
        {"name": "short", "type": "regex", "pattern": "^.{1,3}$"},
    ]
    with Engine([read(spec) for spec in specs]) as engine:
        both, one = engine.grade(["M5", "M6"], [{"answer": "M5"}] * 2)
    assert (both.score, one.score) == (1, 0.25)
    assert one.parts == {"exact": 0, "short": 1}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"type": "label_model"}, "label_model is not built"),
        ({"type": "endpoint"}, "endpoint is not built"),
        ({"type": "text_similarity", "evaluation_metric": "meteor"}, "meteor is not built"),
        ({"type": "text_similarity", "evaluation_metric": "cosine"}, "cosine is not built"),
        ({"type": "other"}, "does not match any of the expected tags"),
    ],
)
def test_what_is_not_built_is_refused_by_name(spec: dict[str, Any], reason: str, read: Any) -> None:
    with pytest.raises(ValidationError, match=reason):
        read(spec)


def test_every_simple_grader_has_a_builder_or_is_compiled_by_itself() -> None:
    types = set(get_args(get_args(SimpleGrader)[0]))
    assert len(types) >= 12
    assert types == {*_BUILDERS, PythonGrader, ScoreModel}


@pytest.mark.parametrize(
    "veto",
    [
        {"type": "regex", "pattern": "^safe"},
        {"type": "reading_level", "max_grade": 0},
        {"type": "multi", "graders": {"safe": {"type": "regex", "pattern": "^safe"}}, "calculate_output": "safe"},
    ],
    ids=lambda spec: spec["type"],
)
def test_a_grader_with_a_veto_makes_the_score_0_where_it_gives_less_than_1(veto: dict[str, Any], read: Any) -> None:
    exact = read({"name": "exact", "type": "string_check", "weight": 9})
    vetoing, mild = read({"name": "safe", "veto": True, **veto}), read({"name": "safe", **veto})
    item = {"answer": "unstoppably so"}
    with Engine([exact, vetoing]) as engine, Engine([exact, mild]) as without:
        [refused], [counted] = engine.grade(["unstoppably so"], [item]), without.grade(["unstoppably so"], [item])
    assert refused.score == 0
    assert counted.score is not None
    assert counted.score >= 0.9
    assert refused.parts == counted.parts


def test_a_veto_that_is_not_used_leaves_the_mean_and_an_error_stays_no_score(read: Any) -> None:
    graders = [
        read({"name": "safe", "veto": True, "type": "regex", "pattern": "^safe"}),
        read({"type": "string_check"}),
    ]
    with Engine(graders) as engine:
        kept, failed = engine.grade(["safe", "x"], [{"answer": "y"}, {}])
    assert (kept.score, failed.score) == (0.5, None)
