"""Contradictions, questions for facts, and rows of unusual length."""

from __future__ import annotations

import random

from tests.unit.shared.validation.content.scanned import prose, row, scanned


def test_two_answers_to_one_prompt_are_a_contradiction() -> None:
    problems = scanned(
        [row("Is valve 4 open?", "Yes."), row("is valve 4  open?", "No."), row("Is valve 4 open?", "yes.")]
    )
    assert problems["contradictory_answers"].rows == (2,)


def test_rows_that_ask_for_facts_are_said_to_want_retrieval() -> None:
    chance = random.Random(10)
    facts = [
        row(f"When was the policy {number} of the {prose(chance, 4)} signed?", f"In {1900 + number}, section {number}.")
        for number in range(60)
    ]
    tasks = [row(f"Rewrite this politely: {prose(chance)}", prose(chance, 25)) for _ in range(60)]
    problem = scanned(facts + tasks)["fact_lookup"]
    assert problem.message.startswith("50 % of the rows")
    assert "fact_lookup" not in scanned(tasks)


def test_a_row_far_longer_than_the_rest_is_named() -> None:
    chance = random.Random(11)
    rows = [row(prose(chance), prose(chance)) for _ in range(60)]
    rows[41] = row(prose(chance, 2_000), prose(chance))
    assert scanned(rows)["length_outlier"].rows == (42,)
