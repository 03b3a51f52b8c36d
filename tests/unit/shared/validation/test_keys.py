"""Copies in a file, and rows of both files."""

from __future__ import annotations

import json


def test_exact_copies_are_counted_and_near_ones_are_not(check, rows) -> None:
    copy = json.loads(rows(1))
    other = {**copy, "fault": "pump"}
    checked = check(rows(60, copy, other, copy), rows(20, start=100))
    assert checked.codes == {"ignored_field": (), "duplicate_row": (61, 63)}


def test_a_training_row_that_is_also_held_out_blocks(check, rows) -> None:
    checked = check(rows(60), rows(20, start=58))
    assert checked.codes == {"train_eval_overlap": (59, 60)}
