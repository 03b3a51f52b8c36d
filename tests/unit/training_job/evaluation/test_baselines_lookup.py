"""A table read off the training rows, as a baseline."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest

from tests.unit.recipes.ready import RECIPES, prompt_of, rows_of
from training_job.evaluation.baselines import Lookup

Pairs = list[tuple[str, str]]


def split(rows: Pairs) -> tuple[Pairs, Pairs]:
    random.Random(5).shuffle(rows)
    cut = len(rows) * 3 // 4
    return rows[:cut], rows[cut:]


def triage() -> Pairs:
    """A level that depends on symptom and finding together, and words that stand for words."""
    symptoms, findings = (["AP", "cough", "rash", "burn", "wound", "itch"], ["calm", "pale", "blue", "grey"])
    return [
        (
            f"Note: {age} c/o {one} for {days}d, looks {two}.",
            f"{age}; {one} for {days} days; {'now' if deep else 'later'}",
        )
        for (i, one), (j, two) in product(enumerate(symptoms), enumerate(findings))
        for deep in [(i * j + i) % 3 == 0]
        for age, days in product(("30s", "50s", "70s"), (2, 3, 5))
    ]


def steps() -> Pairs:
    """Numbered steps that depend on the fault, with the number of the unit in them."""
    faults = {
        "is hot": ["cool", "lock out", "clean filter-{}"],
        "leaks": ["lock out", "replace seal-{}", "refill"],
        "shakes": ["lock out", "replace bearing-{}", "align", "test"],
    }
    units = {1: 40, 2: 52, 3: 61, 4: 28, 5: 84, 6: 19, 7: 33, 8: 75, 9: 96}
    questions = ("Unit {} {}", "What if unit {} {}?", "Help, unit {} {} again", "unit {} still {}", "Why? Unit {} {}.")
    return [
        (ask.format(unit, fault), f"Unit {unit}: " + " ".join(f"{n}. {s.format(code)}." for n, s in enumerate(do, 1)))
        for ask, (unit, code), (fault, do) in product(questions, units.items(), faults.items())
    ]


@pytest.mark.parametrize("task", [triage, steps])
def test_a_lookup_answers_what_a_table_can_though_no_held_out_prompt_was_seen(task: Any) -> None:
    train, held_out = split(task())
    lookup = Lookup(train)
    wrong = [(prompt, lookup.answer(prompt), answer) for prompt, answer in held_out if lookup.answer(prompt) != answer]
    assert len(wrong) <= 0.1 * len(held_out), wrong[:3]


def test_a_lookup_cannot_do_what_no_training_row_shows() -> None:
    draw = random.Random(1)
    rows = [
        (f"{a} + {b}", f"{a + b}") for a, b in ((draw.randrange(10, 99), draw.randrange(10, 99)) for _ in range(300))
    ]
    train, held_out = split(list(dict.fromkeys(rows)))
    lookup = Lookup(train)
    assert sum(lookup.answer(prompt) == answer for prompt, answer in held_out) < 0.2 * len(held_out)


def test_an_answer_ends_though_the_table_goes_round_in_circles() -> None:
    lookup = Lookup([("a", "x y x y x y x"), ("b", "y x y x y x y"), ("c", "x x")])
    assert len(lookup.answer("nothing known").split()) <= 7 + 1


@pytest.mark.ci
def test_the_part_codes_are_a_table() -> None:
    train, held_out = (rows_of(RECIPES / "manufacturing" / f"{part}.jsonl") for part in ("train", "eval"))
    lookup = Lookup([(prompt_of(row), row["messages"][-1]["content"]) for row in train])
    right = [lookup.answer(prompt_of(row)) == row["messages"][-1]["content"] for row in held_out]
    assert sum(right) / len(right) >= 0.98
