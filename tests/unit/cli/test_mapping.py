"""Records, a mapping, rows."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.mapping import Left, Mapping, Record, mapped

ORDERS: list[Record] = [
    {"asset": "A", "at": "2024-01-01", "text": "first"},
    {"asset": "B", "at": "2024-02-05", "text": "other"},
    {"asset": "A", "at": "2024-02-20", "text": "third"},
    {"asset": "A", "at": "2024-02-10", "text": "second"},
    {"asset": "A", "at": "soon", "text": "undated"},
    {"asset": "B", "at": "2024-04-01", "text": "last"},
]
BACK = "{{ history | map(attribute='text') | join(', ') or 'none' }}"
AHEAD = "{{ ahead | map(attribute='text') | join(', ') or 'none' }}"


def rows(mapping: dict[str, Any], records: list[Record]) -> tuple[list[tuple[str, str]], list[Left]]:
    found = list(mapped(Mapping.model_validate(mapping), records))
    output = [tuple(message["content"] for message in row["messages"]) for row in found if not isinstance(row, Left)]
    return output, [row for row in found if isinstance(row, Left)]


def test_history_looks_back_and_ahead_within_one_thing_and_never_at_the_record_itself() -> None:
    history = {"by": "asset", "time": "at", "days": 35, "ahead_days": 15}
    output, left = rows({"prompt": "{{ text }} after " + BACK, "answer": AHEAD, "history": history}, ORDERS)
    assert output == [("second after none", "third"), ("third after second", "none"), ("other after none", "none")]
    assert sorted((one.record, one.why.split()[0]) for one in left) == [(1, "the"), (5, "no"), (6, "the")]


def test_a_column_that_another_record_has_is_empty_in_one_without_it() -> None:
    output, left = rows({"prompt": "p {{ b }}", "answer": "{{ a }}"}, [{"a": "3"}, {"a": "1", "b": "2"}])
    assert output == [("p", "3"), ("p 2", "1")]
    assert left == []


def test_a_template_reaches_nothing_but_the_record() -> None:
    output, _ = rows({"prompt": "{{ record['a b'] }}", "answer": "{{ record['a b'] | length }}"}, [{"a b": "xyz"}])
    assert output == [("xyz", "3")]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 400)), max_size=40), st.integers(1, 60))
def test_every_record_is_one_row_or_left_out_once_and_sees_no_later_day(
    orders: list[tuple[str, int]], days: int
) -> None:
    start = date(2024, 1, 1)
    records = [{"asset": asset, "at": str(start + timedelta(day)), "day": day} for asset, day in orders]
    mapping = Mapping.model_validate(
        {
            "prompt": "{{ day }}: {{ history | map(attribute='day') | join(' ') }}",
            "answer": "x",
            "history": {"by": "asset", "time": "at", "days": days},
        }
    )
    found = list(mapped(mapping, records))
    assert len(found) == len(records)
    for row in found:
        if not isinstance(row, Left):
            today, _, seen = row["messages"][0]["content"].partition(":")
            assert all(int(today) - days <= int(day) < int(today) for day in seen.split())
