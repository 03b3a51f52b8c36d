"""The part of the report for people who know the subject."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.dataset import DataQuality, Ignored, ValueCount
from tests.unit.shared.validation.conftest import Check

LARGE = b"evaluation: {gate: {min_rows: 2}}"


def row(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def quality(check: Check, rows: list[dict[str, Any]], held_out: Any = None, recipe: bytes = LARGE) -> DataQuality:
    def lines(part: list[dict[str, Any]]) -> bytes:
        return b"".join(json.dumps(each).encode() + b"\n" for each in part)

    return check(lines(rows), lines(held_out) if held_out else None, recipe).result.report.quality


def triage(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Six in ten are urgent, four routine."""
    return [row(f"Note {start + n}", "Urgent." if n % 5 < 3 else "routine") for n in range(count)]


def test_labels_are_counted_on_both_sides_with_rows_to_look_at(check: Check) -> None:
    found = quality(check, triage(100))
    assert found.labels == (
        ValueCount(value="urgent", train_rows=54, eval_rows=6, rows=(1, 2, 3)),
        ValueCount(value="routine", train_rows=36, eval_rows=4, rows=(4, 5, 9)),
    )
    assert found.labels_count == 2


def test_labels_of_a_held_out_file_are_counted_there(check: Check) -> None:
    found = quality(check, triage(100), triage(20, start=500))
    assert [(one.value, one.train_rows, one.eval_rows) for one in found.labels] == [
        ("urgent", 60, 12),
        ("routine", 40, 8),
    ]


@pytest.mark.parametrize(
    ("label", "rows", "shown"),
    [("rare", 4, ""), ("rare", 5, "rare"), ("send to anna@example.com", 8, ""), ("ask 078-05-1120", 8, "")],
)
def test_a_label_of_few_rows_or_with_personal_data_is_counted_and_not_quoted(
    check: Check, label: str, rows: int, shown: str
) -> None:
    recipe = LARGE + b"\ndata: {personal_data: allow}"
    found = quality(check, [*triage(100), *(row(f"Case {n}", label) for n in range(rows))], recipe=recipe)
    last = found.labels[-1]
    assert (last.value, last.train_rows + (last.eval_rows or 0)) == (shown, rows)
    assert last.rows == (101, 102, 103)


def test_free_answers_have_no_labels(check: Check) -> None:
    found = quality(check, [row(f"Note {n}", f"Answer {n}") for n in range(100)])
    assert (found.labels, found.labels_count) == ((), 0)


@pytest.mark.parametrize(
    ("name", "slices", "counted"),
    [("intent", "", True), ("Category", "", True), ("ward", "ward", True), ("ward", "", False), ("doctor", "", False)],
)
def test_fields_that_sort_rows_are_counted_if_they_are_slices_or_named_like_an_intent(
    check: Check, name: str, slices: str, counted: bool
) -> None:
    rows = [row(f"Note {n}", f"Answer {n}", **{name: "ab"[n % 2]}) for n in range(100)]
    recipe = f"evaluation: {{slices: [{slices}], gate: {{min_rows: 2}}}}".encode()
    found = quality(check, rows, recipe=recipe)
    values = (
        ValueCount(value="a", train_rows=50, rows=(1, 3, 5)),
        ValueCount(value="b", train_rows=50, rows=(2, 4, 6)),
    )
    assert [(one.field, one.values) for one in found.categories] == ([(name, values)] if counted else [])


@pytest.mark.parametrize(
    "value",
    [lambda n: f"free text {n}", lambda n: "x" * 41, lambda n: "same", lambda n: n % 2, lambda n: ["a"]],
    ids=["different in each row", "long", "one value", "numbers", "lists"],
)
def test_fields_that_do_not_sort_rows_are_not_counted(check: Check, value: Any) -> None:
    assert quality(check, [row(f"Note {n}", f"Answer {n}", topic=value(n)) for n in range(100)]).categories == ()


def test_contradictions_name_both_rows(check: Check) -> None:
    rows = [row(f"Note {n}", f"Answer {n}") for n in range(60)]
    assert quality(check, [*rows, row("Note 4", "Another")]).contradictions == ((5, 61),)


def test_rows_far_longer_and_far_shorter_than_the_median_are_named_wherever_the_text_stands(check: Check) -> None:
    rows = [row(f"Note {n} " + "word " * 100, "Answer") for n in range(60)]
    rows[9] = row("Hi", "Yes")
    rows[19]["messages"].insert(0, {"role": "system", "content": "word " * 3000})
    found = quality(check, rows)
    assert (found.short.count, found.short.rows) == (1, (10,))
    assert (found.long.count, found.long.rows) == (1, (20,))
    assert 500 < found.characters_median < 540


def test_what_is_ignored_is_named_with_its_rows(check: Check) -> None:
    rows = [row(f"Note {n}", f"Answer {n}", note="x", intent="ab"[n % 2]) for n in range(60)]
    rows[0]["messages"][0]["mood"] = "bad"
    found = quality(check, rows, recipe=b"evaluation: {slices: [intent], gate: {min_rows: 2}}")
    assert found.ignored == (Ignored(what="field messages[].mood", rows=1), Ignored(what="field note", rows=60))
