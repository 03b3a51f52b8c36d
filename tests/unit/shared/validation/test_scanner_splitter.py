"""Which rows are held out where the user gave no file of them."""

from __future__ import annotations

import json
from typing import Any


def test_without_a_held_out_file_the_share_is_split_off_and_copies_stay_together(check, rows) -> None:
    checked = check(rows(200) + rows(200))
    train, held_out = checked.train.splitlines(), checked.eval.splitlines()
    assert checked.result.report.eval_source == "split"
    assert (len(train), len(held_out)) == (360, 40)
    assert not set(train) & set(held_out)


def test_the_held_out_rows_depend_on_the_seed_and_not_on_their_order(check, rows) -> None:
    data = rows(200)
    backwards = b"\n".join(reversed(data.splitlines()))
    other_seed = b"method: {hyperparameters: {seed: 7}}"
    held_out = sorted(check(data).eval.splitlines())
    assert sorted(check(backwards).eval.splitlines()) == held_out
    assert sorted(check(data, recipe=other_seed).eval.splitlines()) != held_out


def alike(group: int, number: int) -> dict[str, Any]:
    """Rows of a group differ in one word of eighty."""
    words = " ".join(f"w{group}x{place}" for place in range(79))
    return {"messages": [{"role": "user", "content": f"{words} {number}"}, {"role": "assistant", "content": "yes"}]}


def groups_of(part: bytes) -> set[str]:
    return {json.loads(line)["messages"][0]["content"].split("x")[0] for line in part.splitlines()}


def test_near_duplicates_are_all_held_out_or_all_trained_on(check) -> None:
    data = "\n".join(json.dumps(alike(group, number)) for number in range(3) for group in range(100)).encode()
    checked = check(data)
    assert checked.codes.keys() == {"near_duplicate", "label_imbalance"}  # all answers are "yes"
    assert checked.codes["near_duplicate"] == tuple(range(101, 121))
    assert (len(checked.train.splitlines()), len(checked.eval.splitlines())) == (270, 30)
    assert not groups_of(checked.train) & groups_of(checked.eval)


def test_near_duplicates_are_separated_with_a_warning_where_too_few_could_be_held_out(check) -> None:
    data = "\n".join(json.dumps(alike(1, number)) for number in range(300)).encode()
    checked = check(data)
    assert checked.errors == []
    assert "near_duplicates_split" in checked.codes
    assert len(checked.eval.splitlines()) == 30


def test_a_group_and_its_near_duplicates_are_split_together(check) -> None:
    """Group p<n> has a near duplicate in group q<n>: both are held out or both are trained on."""
    first = [{**alike(n, 0), "patient": f"p{n}"} for n in range(100)]
    copies = [{**alike(n, 1), "patient": f"q{n}"} for n in range(100)]
    others = [{**alike(1000 + n, 0), "patient": f"q{n}"} for n in range(100)]
    rows_ = first + copies + others
    checked = check("\n".join(map(json.dumps, rows_)).encode(), recipe=b"data: {split_group: patient}")

    def numbers(part: bytes) -> set[str]:
        return {json.loads(line)["item"]["patient"][1:] for line in part.splitlines()}

    assert len(numbers(checked.eval)) == 10
    assert not numbers(checked.train) & numbers(checked.eval)


def test_at_least_one_row_is_held_out_and_a_file_of_copies_is_refused(check, rows) -> None:
    recipe = b"data: {validation_split: 0.01}\nevaluation: {gate: {min_rows: 2}}"
    assert check(rows(3), recipe=recipe).result.report.statistics.eval_rows == 1
    assert check(rows(1) * 60).errors == ["no_eval_rows"]


def test_rows_of_a_group_are_all_held_out_or_all_trained_on(check, rows) -> None:
    data = b"".join(rows(3, start=3 * group, patient=f"p{group}") for group in range(100))
    checked = check(data, recipe=b"data: {split_group: patient}")
    splits = [
        {json.loads(line)["item"]["patient"] for line in part.splitlines()} for part in (checked.train, checked.eval)
    ]
    assert [len(split) for split in splits] == [90, 10]
    assert not splits[0] & splits[1]
    ungrouped = check(data)
    assert {json.loads(line)["item"]["patient"] for line in ungrouped.eval.splitlines()} & {
        json.loads(line)["item"]["patient"] for line in ungrouped.train.splitlines()
    }


def test_groups_that_differ_in_case_or_blanks_alone_are_one(check, rows) -> None:
    spellings = ("ward {}", "Ward {}", " WARD  {} ", "ward\t{}")
    data = b"".join(
        rows(1, start=4 * n + i, ward=text.format(n)) for n in range(30) for i, text in enumerate(spellings)
    )
    checked = check(data, recipe=b"data: {split_group: ward}")
    splits = [
        {" ".join(json.loads(line)["item"]["ward"].split()).casefold() for line in part.splitlines()}
        for part in (checked.train, checked.eval)
    ]
    assert splits[1]
    assert not splits[0] & splits[1]
    both = check(rows(60, ward="P5"), rows(20, start=100, ward="p5"), b"data: {split_group: ward}")
    assert both.errors == ["group_in_both_splits"]


def test_a_row_without_the_group_is_an_error(check, rows) -> None:
    data = rows(300, patient="p1") + rows(1, start=900)
    assert check(data, recipe=b"data: {split_group: patient}").codes == {"split_group_field_missing": (301,)}
