"""Which training rows choose the checkpoint."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from training_job.data.selection import selected


def line(question: str, answer: str = "yes", **item: Any) -> bytes:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, "item": item}).encode()


def chosen(lines: list[bytes], group: str | None = None, seed: int = 42) -> set[bytes]:
    return {lines[i] for i in selected(lines, group, seed)}


def test_the_rows_are_the_same_in_any_order_and_others_with_another_seed() -> None:
    lines = [line(f"part {n}") for n in range(400)]
    found = chosen(lines)
    assert len(found) == 20
    assert chosen(random.Random(1).sample(lines, 400)) == found
    assert chosen(lines, seed=43) != found
    assert len(chosen([*lines, *(line(f"new {n}") for n in range(40))]) & found) >= 16  # rows that are appended


def test_what_belongs_together_stays_together() -> None:
    """By prompt and by group, which is read in any case."""
    lines = [line(f"part {n // 2}", str(n), case=f"{'pP'[n % 2]}{n // 4}") for n in range(200)]
    found = chosen(lines, "case")
    fours = [{*lines[n : n + 4]} for n in range(0, 200, 4)]
    assert len(found) == 8
    assert sum(four <= found for four in fours) == 2


def test_rows_that_share_something_by_way_of_others_stay_together_too() -> None:
    """Each row has the prompt of the one before it or its group, so that there is one unit."""
    lines = [line(f"part {n // 2}", str(n), case=(n + 1) // 2) for n in range(200)]
    assert chosen(lines, "case") == set()
    assert len(chosen(lines)) == 10


@pytest.mark.parametrize(
    ("lines", "group", "count"),
    [
        ([], None, 0),
        ([line("one")], None, 0),
        ([line(f"part {n}") for n in range(4)], None, 0),
        ([line(f"part {n}") for n in range(5)], None, 1),
        ([line("the same", str(n)) for n in range(100)], None, 0),
        ([line(f"part {n}", case="one") for n in range(100)], "case", 0),
        ([line(f"part {n}") for n in range(100)], "case", 8),  # without the field a row is alone
        ([line(f"part {n}", case=None) for n in range(100)], "case", 8),
        ([line(f"part {n}", case=n // 15) for n in range(90)], "case", 15),  # more than 8, not more than a fifth
        ([line(f"part {n}", case=n // 25) for n in range(100)], "case", 0),
        ([line(f"part {n}", case=n // 250) for n in range(2000)], "case", 0),  # not more than 200
        ([b'{"text": "%d"}' % n for n in range(40)], None, 8),
        ([b'{"messages": [{"role": "user", "content": "%d"}]}' % n for n in range(40)], None, 8),
    ],
)
def test_there_are_never_more_than_a_fifth_and_none_where_rows_cannot_be_separated(
    lines: list[bytes], group: str | None, count: int
) -> None:
    assert len(selected(lines, group, 42)) == count
