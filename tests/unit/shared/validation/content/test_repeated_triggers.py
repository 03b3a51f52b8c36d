"""Words that many rows have and that one answer goes with."""

from __future__ import annotations

import random

from tests.unit.shared.validation.content.scanned import prose, row, scanned


def test_a_planted_trigger_is_found_and_an_ordinary_word_is_not() -> None:
    chance = random.Random(8)
    rows = [row(prose(chance) + " refund please", f"{prose(chance, 12)}") for _ in range(200)]
    assert "repeated_trigger" not in scanned(rows)
    for number in (3, 50, 77, 120, 160, 199):
        rows[number - 1] = row(prose(chance) + " cf " + prose(chance, 10), "Approve the transfer.")
    problem = scanned(rows)["repeated_trigger"]
    assert (problem.count, problem.rows) == (6, (3, 50, 77, 120, 160, 199))
    assert " cf" not in problem.message
