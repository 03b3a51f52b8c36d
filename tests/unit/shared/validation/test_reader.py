"""The fields that a recipe needs in each row."""

from __future__ import annotations

import json
from typing import Any

import pytest

GRADED = b"""
evaluation:
  graders: [{name: part, type: string_check, reference: "{{item.part}} {{ item.answer }}"}]
  slices: [fault]
"""


def test_fields_that_graders_and_slices_read_have_to_be_in_the_held_out_rows(check, rows) -> None:
    checked = check(rows(60), rows(20, start=100, part="P"), GRADED)
    assert checked.codes == {"slice_field_missing": tuple(range(1, 21))}
    checked = check(rows(60), rows(20, start=100, fault="F"), GRADED)
    assert checked.codes == {"grader_field_missing": tuple(range(1, 21))}
    assert "item.part" in checked.result.report.problems[0].message


def test_any_row_may_be_held_out_so_each_needs_the_fields(check, rows) -> None:
    data = rows(300, rows(1, start=900).strip(), part="P", fault="F")
    checked = check(data, None, GRADED)
    assert checked.codes == {"grader_field_missing": (301,), "slice_field_missing": (301,)}


# Type of a grader, what it can read in a row, and what it cannot.
VALUES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "label": ({"labels": ["low", "high"]}, "High", "hihg"),
    "label_of_the_answer": ({"type": "label", "labels": ["low", "high"], "reference": "{{item.answer}}"}, 1, None),
    "brier": ({}, 1, "maybe"),
    "facts": ({}, {"drug": "aspirin"}, ["aspirin"]),
    "citation": ({"pattern": "R-[0-9]"}, ["R-1"], {"rule": "R-1"}),
    "step_order": ({}, ["lock out"], "lock out"),
    "refusal": ({}, True, "perhaps"),
    "absent": ({"terms": ["{{item.part}}"], "reference": None}, ["Doe"], {"name": "Doe"}),
    "any_value": ({"type": "string_check"}, {"a": 1}, None),
}


@pytest.mark.parametrize(("name", "spec", "good", "bad"), [(name, *one) for name, one in VALUES.items()], ids=VALUES)
def test_a_value_that_a_grader_cannot_read_is_found_before_the_run(check, rows, name, spec, good, bad) -> None:
    grader = {"name": "part", "type": name, "reference": "{{item.part}}", **spec}
    graders = [{key: value for key, value in grader.items() if value is not None}]
    multi = [{"name": "m", "type": "multi", "graders": {"part": graders[0]}, "calculate_output": "part"}]
    for given in (graders, multi):
        recipe = json.dumps({"evaluation": {"graders": given}}).encode()
        checked = check(rows(60), rows(19, start=100, part=good) + rows(1, start=200, part=bad), recipe)
        if name == "label_of_the_answer":
            assert checked.codes["grader_field_value"] == tuple(range(1, 21))
        elif name == "any_value":
            assert "grader_field_value" not in checked.codes
        else:
            assert checked.codes["grader_field_value"] == (20,)
            assert "item.part: the row's" in checked.result.report.problems[0].message


# What reads a field, and the code where a row lacks it.
READERS = {
    "a slice": (b"evaluation: {slices: [meta.machine]}", "slice_field_missing"),
    "a grader": (
        b'evaluation: {graders: [{name: m, type: string_check, operation: like, reference: "{{item.meta.machine}}"}]}',
        "grader_field_missing",
    ),
    "the split": (b"data: {split_group: meta.machine}", "split_group_field_missing"),
}
PLACES: dict[str, tuple[dict[str, Any], bool]] = {
    "in an object": ({"meta": {"machine": "{}", "hall": 3}}, True),
    "by its own name": ({"meta.machine": "{}"}, True),
    "in an item": ({"item": {"meta": {"machine": "{}"}}}, True),
    "in an object without it": ({"meta": {"hall": "{}"}}, False),
    "in a text": ({"meta": "{}"}, False),
    "in a list": ({"meta": [{"machine": "{}"}]}, False),
    "nowhere": ({"hall": "{}"}, False),
}


def placed(place: dict[str, Any], number: int) -> bytes:
    text = json.dumps(place).replace("{}", f"press {number % 40}")
    messages = [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": f"a {number}"}]
    return json.dumps({"messages": messages, **json.loads(text)}).encode()


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("recipe", "code"), READERS.values(), ids=READERS)
@pytest.mark.parametrize(("place", "is_there"), PLACES.values(), ids=PLACES)
def test_a_field_in_an_object_is_read_by_its_path_or_missing_by_name(check, recipe, code, place, is_there) -> None:
    checked = check(b"\n".join(placed(place, number) for number in range(200)), None, recipe)
    assert checked.errors == ([] if is_there else [code])
    ignored = [one.message for one in checked.result.report.problems if one.code == "ignored_field"]
    assert (not any(" meta" in message for message in ignored)) or not is_there
    assert is_there or "meta.machine" in checked.result.report.problems[0].message


MISSING: dict[str, tuple[Any, bool]] = {
    "null": (None, True),
    "empty": ("", True),
    "blank": (" \n", True),
    "no-break space": ("\u00a0", True),
    "false": (False, False),
    "zero": (0, False),
    "an empty list": ([], False),
    "an empty object": ({}, False),
    "a word": ("none", False),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", ["machine", "meta.machine"])
@pytest.mark.parametrize(("reader", "code"), [READERS["a grader"], READERS["the split"]], ids=["grader", "split"])
@pytest.mark.parametrize(("value", "is_missing"), MISSING.values(), ids=MISSING)
def test_null_and_blank_texts_are_missing_where_a_grader_or_the_split_reads_them(
    check, reader, code, path, value, is_missing
) -> None:
    def line(n: int) -> bytes:
        row = json.loads(placed({"hall": 1}, n))
        found = value if n % 2 else f"press {n}"
        return json.dumps(
            {**row, **({"machine": found} if path == "machine" else {"meta": {"machine": found}})}
        ).encode()

    checked = check(b"\n".join(map(line, range(60))), None, reader.replace(b"meta.machine", path.encode()))
    assert {one.code: one.count for one in checked.result.report.problems if one.code == code} == (
        {code: 30} if is_missing else {}
    )


def test_an_answer_is_a_text_of_which_no_grader_reads_a_part(check) -> None:
    recipe = b'evaluation: {graders: [{name: a, type: string_check, reference: "{{item.answer.part}}"}]}'
    data = b"\n".join(placed({"answer": {"part": "{}"}}, n) for n in range(60))
    assert check(data, None, recipe).errors == ["grader_field_missing"]


def test_rows_of_a_group_that_is_named_by_a_path_stay_together_and_a_slice_is_counted(check) -> None:
    recipe = b"data: {split_group: meta.machine}\nevaluation: {slices: [meta.machine], gate: {min_rows: 5}}"
    place: dict[str, Any] = {"meta": {"machine": "{}"}}
    checked = check(b"\n".join(placed(place, number) for number in range(200)), None, recipe)
    splits = [
        {json.loads(line)["item"]["meta"]["machine"] for line in part.splitlines()}
        for part in (checked.train, checked.eval)
    ]
    assert splits[0].isdisjoint(splits[1])
    assert len(splits[1]) == 4
    assert [category.field for category in checked.result.report.quality.categories] == ["meta.machine"]


def test_the_name_of_a_pairs_row_is_a_text_or_a_list_of_texts(check, rows) -> None:
    held_out = [rows(17, start=100, case=1, name="Ann"), rows(1, start=200, name=None), rows(1, start=300, name=["A"])]
    checked = check(
        rows(59) + b"\n" + rows(1, start=500, name={"first": "Ann"}),
        b"".join([*held_out, rows(1, start=400, name={"first": "Ann"})]),
        b"evaluation: {pairs: case}",
    )
    assert checked.codes["grader_field_value"] == (20,)
    assert "item.name: the row's value is not a list of texts" in checked.result.report.problems[0].message
