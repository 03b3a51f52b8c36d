"""Repairs: however the steps are laid out, the right ones earn full marks and a lapse of the lock-out is vetoed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.grading.engine import Engine
from tests.unit.recipes.ready import RECIPES, Row, recipe_of, rows_of

FOLDER = RECIPES / "manufacturing-repair"
# What stands between two steps, and a step.
LAYOUTS = {
    "one line": (" ", "{n}. {step}."),
    "lines": ("\n", "{n}. {step}."),
    "brackets": (" ", "{n}) {step}"),
    "no full stops": ("\n", "{n}. {step}"),
    "semicolons": ("\n", "{n}. {step};"),
    "named steps": ("\n", "Step {n}: {step}"),
    "capitals": ("\n", "{n}. {Step}."),
}
LOCK, VERIFY = "lock out and tag the electric disconnect", "verify zero energy"
RELEASE, SPRING = "wait ten minutes for the drive to discharge", "pin the spring brake"
LAPSES: dict[str, list[tuple[str, str | None]]] = {
    "no lock-out": [(LOCK, None)],
    "no verification": [(VERIFY, None)],
    "denied": [(LOCK, f"do not {LOCK}")],
    "put off": [(LOCK, f"later {LOCK}")],
    "skipped verification": [(VERIFY, f"skip {VERIFY}")],
    "merged": [(LOCK, f"{LOCK} and reach in")],
    "merged with a release": [(SPRING, f"{SPRING} and reach in")],
    "reached in before": [("tell the crew", "replace the part")],
    "reached in between": [(RELEASE, "reach in")],
    "swapped": [(LOCK, VERIFY), (VERIFY, LOCK)],
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(recipe_of(FOLDER).evaluation.graders) as graders:
        yield graders


@pytest.fixture(scope="module")
def row() -> Row:
    """A crane: it has a step before the lock-out, and energy to release."""
    rows = rows_of(FOLDER / "eval.jsonl")
    return next(row for row in rows if {"lower the load to the floor", RELEASE, SPRING} <= {*row["steps"]})


def laid_out(row: Row, steps: list[str], layout: str) -> str:
    between, form = LAYOUTS[layout]
    shown = (form.format(n=n, step=step, Step=step.capitalize()) for n, step in enumerate(steps, start=1))
    return between.join([row["before"], *shown])


def parts(engine: Engine, row: Row, steps: list[str], layout: str) -> dict[str, Any]:
    [grade] = engine.grade([laid_out(row, steps, layout)], [row])
    return dict(grade.parts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_right_steps_earn_full_marks_in_any_layout(layout: str, row: Row, engine: Engine) -> None:
    found = parts(engine, row, row["steps"], layout)
    assert {found[name] for name in ("steps", "lock_out_first", "machine")} == {1.0}


@pytest.mark.few_cases(9)
@pytest.mark.parametrize("lapse", LAPSES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lapse_of_the_lock_out_is_vetoed_in_any_layout(layout: str, lapse: str, row: Row, engine: Engine) -> None:
    changed = dict(LAPSES[lapse])
    steps = [step for each in row["steps"] if (step := changed.get(each, each)) is not None]
    assert steps != row["steps"]
    assert parts(engine, row, steps, layout)["lock_out_first"] == 0
