"""Facts of an answer that its source has."""

from __future__ import annotations

from typing import Any

import pytest

from docs.generator.recipes import RECIPES
from shared.domain.prompts import prompt_of
from shared.grading.engine import Engine
from shared.grading.errors import GradingErrorCode
from tests.unit.recipes.ready import rows_of

SPEC = {"type": "grounded", "source": "{{item.note}}"}


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("1200 units", "1,200 units"),
        ("1,200.0", "1200"),
        ("12.50", "12.5"),
        ("warfarin 5mg", "warfarin 5 mg"),
        ("warfarin 5 mg", "5 milligrams of warfarin"),
        ("200 \u00b5g", "200 mcg"),
        ("60.0%", "60 percent"),
        ("loan of 16500", "a loan of $16,500.00"),
        ("USD 300", "300 dollars"),
        ("64F, HR64, BP 145/90", '{"age": 64, "hr": "64", "bp": "145/90"}'),
        ("M 60s, CP x 3m", "man, 60s: chest pain for 3 months"),
        ("for two weeks", "for 2 weeks"),
        ("nothing", "for two weeks"),
        ("on 2026-03-01", "on March 1, 2026 and 1 Mar 2026"),
        ("3/4/2026", "2026-04-03"),
        ("by R-118", "by r 118 and (R118)."),
        ("rule R-118 \\nR-120", "R-120"),
        ("limit 43", "1. Your debts.\n2. Our limit is 43."),
        (["dose 5 mg", {"unit": 7}], "7; 5 mg"),
        ("\uff15 mg", "5 mg"),
        ("any", "No facts at all."),
        ("any", ""),
        ("0.5 mg", ".50 mg"),
    ],
)
def test_what_the_source_has_in_another_format_is_grounded(source: Any, answer: str, score: Any) -> None:
    assert score(SPEC, answer, note=source) == 1


@pytest.mark.parametrize(
    ("source", "answer", "share"),
    [
        ("warfarin 5 mg", "warfarin 5 mcg", 0),
        ("warfarin 5 mg", "warfarin 15 mg", 0),
        ("12.5", "125", 0),
        ("pays 43%", "pays $43", 0),
        ("$16,500 over 24 months", "$16,500 over 24 years", 0.5),
        ("on 2026-03-01", "on March 2, 2026", 0),
        ("rule R-118, 119", "R-118 and R-119", 0.5),
        ("rule R-1180", "R-118", 0),
        ("order 7 of PO-56818", "order 7 of PO-56819", 0.5),
        ("5 mg", "5 mg, 5 mg, 5 mg and 6 mg", 0.5),
        ("room 007", "room 7", 0),
        ("1200", "1201", 0),
        ("0.5 mg", "5 mg", 0),
        ("none", "\u0665 mg", 0),
        ("none", '{"hr": 88, "drugs": ["x 2 mg"]}', 0),
    ],
)
def test_what_the_source_does_not_have_counts_against_the_answer(
    source: str, answer: str, share: float, score: Any
) -> None:
    assert score(SPEC, answer, note=source) == share


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("Dear Jane Roe,\nMercy General wrote.", 1),
        ("Dear Jane Doe,\nMercy General wrote.", 0.5),
        ("Dr. John Smith signed.", 0),
        ("Dear Jane", 1),
    ],
)
def test_names_are_facts_where_the_recipe_says_so(answer: str, share: float, score: Any) -> None:
    note = "Jane Roe, seen at Mercy General"
    assert score({**SPEC, "capitalized": True}, answer, note=note) == share
    assert score(SPEC, answer, note=note) == 1


def test_by_default_the_source_is_what_is_asked(score: Any, grade: Any) -> None:
    prompt = {"system": "Limit 43.", "user": "Pays 60."}
    assert score({"type": "grounded"}, "60, not 43", messages=prompt) == 1
    assert score({"type": "grounded", "source": "{{item.messages.user}}"}, "60, not 43", messages=prompt) == 0.5
    assert grade({"type": "grounded"}, "60").errors[0].code == GradingErrorCode.INVALID_VARIABLE


def test_every_right_summary_of_the_small_recipe_is_grounded(read: Any) -> None:
    """Of the large recipes, which grade with it, tests/unit/recipes/test_ready_recipes.py grades each reference."""
    rows = [row for file in ("eval", "train") for row in rows_of(RECIPES / "healthcare-small" / f"{file}.jsonl")]
    with Engine([read({"type": "grounded", "capitalized": True})]) as engine:
        items = [prompt_of(row).item() for row in rows]
        grades = engine.grade([row["messages"][-1]["content"] for row in rows], items)
    assert [grade.score for grade in grades] == [1] * 1152
