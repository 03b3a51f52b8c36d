"""Near copies, found in a fixed amount of memory."""

from __future__ import annotations

import random

import pytest

from shared.validation.content import near_duplicates
from shared.validation.content.near_duplicates import Index, Table, sketch
from tests.unit.shared.validation.content.scanned import Scan, prose, row, scanned


def test_near_copies_are_counted_in_groups() -> None:
    chance = random.Random(3)
    base, other = prose(chance, 60), prose(chance, 60)
    rows = [
        row(base, "Yes it is."),
        row(other, "No it is not."),
        row(base + " now", "Yes it is."),
        row(base + " then", "Yes it is."),
    ]
    problem = scanned(rows)["near_duplicate"]
    assert (problem.count, problem.rows) == (2, (3, 4))
    assert "1 group, the largest of 3 rows" in problem.message


def test_overlap_with_the_held_out_part_is_found_and_an_equal_row_left_to_the_exact_search() -> None:
    chance = random.Random(4)
    same, near = prose(chance, 50), prose(chance, 50)
    scan = Scan()
    scan.row(1, "eval", row(same, "fine then"), tag=77)
    scan.row(2, "eval", row(near, "Fine then"), tag=78)
    scan.row(1, "train", row(prose(chance, 50), "a b c"))
    scan.row(2, "train", row(same.upper(), "Fine  then"))
    scan.row(3, "train", row(near + " today", "Fine then"))
    scan.row(4, "train", row(same, "fine then"), tag=77)
    problems = scan.found()
    assert (problems["train_eval_same_words"].severity, problems["train_eval_same_words"].rows) == ("error", (2,))
    assert (problems["train_eval_near_duplicate"].severity, problems["train_eval_near_duplicate"].rows) == (
        "warning",
        (3,),
    )


def test_most_pairs_above_the_threshold_are_found_and_few_far_below() -> None:
    chance, index = random.Random(5), Index(bits=12)
    rows = [[f"w{chance.randrange(5000)}" for _ in range(80)] for _ in range(300)]
    for number, words in enumerate(rows, start=1):
        index.add(sketch(words, number), number)

    def share_found(changed: int) -> float:
        hits = 0
        for words in rows:
            copy = list(words)
            for at in chance.sample(range(80), changed):
                copy[at] = f"x{chance.random()}"
            hits += index.match(sketch(copy, 0)) is not None
        return hits / len(rows)

    assert share_found(1) >= 0.99  # similarity 0.95
    assert share_found(12) <= 0.02  # similarity 0.56


def test_an_index_forgets_the_oldest_rows_and_does_not_grow() -> None:
    chance, index = random.Random(6), Index(bits=6)
    rows = [sketch(prose(chance, 40).split(), 0) for _ in range(200)]
    for number, one in enumerate(rows, start=1):
        index.add(one, number)
    assert index.match(rows[0]) is None
    assert index.match(rows[-1]) == near_duplicates.Match(200, 0, True)
    assert len(index._low) == 40 * 64


@pytest.mark.parametrize("bits", [2, 4, 10])
def test_a_table_gives_what_was_set_last_however_full_it_is(bits: int) -> None:
    chance, table, expected = random.Random(1), Table(bits), [0] * (1 << bits)
    for _ in range(3 << bits):
        place, value = chance.randrange(1 << bits), chance.randrange(1 << 64)
        table[place] = expected[place] = value
        assert table[chance.randrange(1 << bits)] in expected
    assert [table[place] for place in range(1 << bits)] == expected
