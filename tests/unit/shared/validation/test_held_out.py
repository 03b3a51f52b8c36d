"""Fields that the evaluation slices by: how many values they have, and which values a row may be sorted by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.evaluation import MAX_SLICE_CHARACTERS, MAX_SLICES

MIN_ROWS = "gate: {min_rows: 5}"

# A value, and what the finding says of it; None: a row may have it.
VALUES: dict[str, tuple[Any, str | None]] = {
    "a word": ("pump", None),
    "blank": ("  ", None),
    "empty": ("", None),
    "of other scripts": ("\u6cf5 \u0639\u0645\u0648\u062f \U0001f527", None),
    "markup": ("[/bold] {{x}} <script>", None),
    "as long as may be": ("n" * MAX_SLICE_CHARACTERS, None),
    "an integer": (7, None),
    "zero": (0, None),
    "a number": (-0.5, None),
    "true": (True, None),
    "null": (None, None),
    "too long": ("n" * (MAX_SLICE_CHARACTERS + 1), "a text of more than 200 characters"),
    "100 kB": ("\u00fc" * 100_000, "a text of more than 200 characters"),
    "lines": ("pump\nvalve", "a text of several lines, or with other control characters"),
    "an escape": ("\x1b[31mpump", "a text of several lines, or with other control characters"),
    "a list": (["pump"], "a list"),
    "an empty list": ([], "a list"),
    "an object": ({"kind": "pump"}, "an object"),
}


def lines(count: int, **fields: Any) -> bytes:
    """Rows with these fields. In texts, `{}` is the row's number."""
    made = []
    for number in range(count):
        messages = [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": f"a {number}"}]
        own = {name: value.format(number) if type(value) is str else value for name, value in fields.items()}
        made.append(json.dumps({"messages": messages, **own}).encode())
    return b"\n".join(made)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("value", "why"), VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("field", ["kind", "meta.kind"])
def test_a_row_whose_value_names_no_slice_is_found(check, rows, field: str, value: Any, why: str | None) -> None:
    own = {"kind": value} if field == "kind" else {"meta": {"kind": value}}
    odd = {"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": "so"}], **own}
    sound = {"kind": "x"} if field == "kind" else {"meta": {"kind": "x"}}
    data = rows(60, odd, **sound)
    checked = check(data, None, f"evaluation: {{slices: [{field}], {MIN_ROWS}}}".encode())
    problems = [(one.code, one.rows, one.message) for one in checked.result.report.problems if one.severity == "error"]
    message = f"A row cannot be sorted into a slice of the evaluation: {field} is {why}."
    assert problems == ([] if why is None else [("slice_value", (61,), message)])


def test_rows_that_are_never_held_out_may_have_any_value(check) -> None:
    recipe = f"evaluation: {{slices: [kind], {MIN_ROWS}}}".encode()
    checked = check(lines(60, kind=["a", "list"]), lines(20, kind="pump").replace(b"q ", b"r "), recipe)
    assert checked.errors == []


@pytest.mark.parametrize(("values", "fits"), [(1, True), (MAX_SLICES - 1, True), (MAX_SLICES, False), (5000, False)])
def test_more_slices_than_the_evaluation_can_tell_apart_are_an_error(check, values: int, fits: bool) -> None:
    """Beside the one of `plant`."""
    recipe = f"evaluation: {{slices: [plant, machine], {MIN_ROWS}}}".encode()
    few = lines(5, plant="one", machine="m 0").replace(b"q ", b"r ")
    held_out = few + b"\n" + lines(values, plant="one", machine="m {}")
    checked = check(lines(60).replace(b"q ", b"s "), held_out, recipe)
    found = [one for one in checked.result.report.problems if one.code == "too_many_slices"]
    assert [(one.file, one.severity, "most of them values of machine" in one.message) for one in found] == (
        [] if fits else [("recipe", "error", True)]
    )
    assert (checked.result.version is not None) == fits


@pytest.mark.parametrize(("share", "fits"), [(0.1, True), (0.4, False)])
def test_slices_of_the_rows_that_are_held_out_count(check, share: float, fits: bool) -> None:
    recipe = f"data: {{validation_split: {share}}}\nevaluation: {{slices: [machine], {MIN_ROWS}}}".encode()
    assert check(lines(400, machine="m {}"), None, recipe).errors == ([] if fits else ["too_many_slices"])


def test_fields_count_together_and_a_field_named_twice_counts_once(check) -> None:
    few = {f"f{number}": f"v{number}" for number in range(MAX_SLICES)}
    for names, code in (([*few, *few], []), ([*few, "more"], ["too_many_slices"])):
        recipe = f"evaluation: {{slices: [{', '.join(names)}], {MIN_ROWS}}}".encode()
        assert check(lines(60, **few, more="x"), None, recipe).errors == code


def test_what_was_counted_is_written_as_before(check) -> None:
    recipes = (f"evaluation: {{{MIN_ROWS}}}".encode(), f"evaluation: {{slices: [kind], {MIN_ROWS}}}".encode())
    plain, sliced = (check(lines(60, kind="pump"), None, recipe) for recipe in recipes)
    assert (sliced.eval, sliced.train) == (plain.eval, plain.train)
    assert sliced.result.version == plain.result.version


def answered(answers: dict[str, int], start: int = 0) -> bytes:
    """So many rows for each answer."""
    all_of_them = [answer for answer, count in answers.items() for _ in range(count)]
    rows = ({"prompt": f"Case {n}: {n * 7919 % 9973}?", "completion": one} for n, one in enumerate(all_of_them, start))
    return b"\n".join(json.dumps(row).encode() for row in rows)


def test_labels_that_one_of_two_files_lacks_are_named_with_the_file_that_needs_them(check) -> None:
    three = answered({"green": 40, "red": 20, "yellow": 20})
    (missing,) = check(three, answered({"green": 25}, 500)).result.report.problems
    assert missing.message.endswith(' 2 labels ("red", "yellow").')
    assert missing.fix.startswith("Add rows of these labels to the held-out file.")
    unknown = check(answered({"green": 40, "yellow": 20}), answered({"red": 21, "blue": 3}, 500)).result.report
    assert [one.message.rpartition(": ")[2] for one in unknown.problems if one.file == "eval"] == [
        'in the held-out file, not in the training file ("red").'  # what three rows say is not shown
    ]


BRING_50 = "Bring 50 different rows or more in all, or a held-out file (eval.jsonl) of 20"


@pytest.mark.parametrize(
    ("train", "held_out", "remedy"),
    [
        (lines(49), None, "Bring 50 different rows or more in all, or a held-out file (eval.jsonl) of 20"),
        (
            (lines(45) + b"\n") * 6,
            None,
            "Bring 50 different rows or more in all, or a held-out file (eval.jsonl) of 20",
        ),
        (lines(60), lines(19).replace(b"q ", b"other "), "Add 1 different row or more to the held-out file"),
        (lines(60), lines(9).replace(b"q ", b"other "), "Add 11 different rows or more to the held-out file"),
    ],
    ids=["split", "split with copies", "file lacks one", "file lacks many"],
)
def test_too_few_held_out_rows_are_said_with_the_number_that_is_missing(check, train, held_out, remedy: str) -> None:
    (found,) = [one for one in check(train, held_out).result.report.problems if one.code == "few_eval_rows"]
    assert found.fix == f"{remedy}, or lower evaluation.gate.min_rows."


@pytest.mark.parametrize(
    ("groups", "recipe", "codes", "smallest"),
    [
        (25, b"data: {split_group: case}", [], 0.441),
        (19, b"data: {split_group: case}", ["few_eval_groups"], 0.529),
        (3, b"data: {split_group: case}", ["few_eval_groups"], None),
        (3, b"", [], 0.213),  # 100 rows that are taken as independent
    ],
)
def test_held_out_rows_of_few_groups_are_said_to_show_little(
    check, groups: int, recipe: bytes, codes: list[str], smallest: float | None
) -> None:
    case = [lines(1, case=f"{'pP'[n % 2]}{n % groups}").replace(b"q 0", b"r %d" % n) for n in range(100)]
    checked = check(lines(200, case="t{}"), b"\n".join(case), recipe)
    plan = checked.result.report.plan
    assert (checked.errors, [code for code in checked.codes if code == "few_eval_groups"]) == ([], codes)
    assert plan is not None
    assert plan.smallest_gain == smallest


def test_large_groups_are_few_however_many_small_ones_there_are(check) -> None:
    case = [lines(1, case=f"p{max(0, n - 80)}").replace(b"q 0", b"r %d" % n) for n in range(110)]
    checked = check(lines(200, case="t{}"), b"\n".join(case), b"data: {split_group: case}")
    (found,) = [one for one in checked.result.report.problems if one.code == "few_eval_groups"]
    assert "their groups are worth 1 of one size, and the gate needs 20" in found.message


def test_rows_with_one_prompt_are_counted_as_one_before_training_too(check) -> None:
    prompts = b"\n".join(lines(1, case=str(n)).replace(b"q 0", b"r %d" % (n // 4)) for n in range(80))
    answers = prompts.splitlines()
    different = b"\n".join(line.replace(b"a 0", b"a %d" % n) for n, line in enumerate(answers))
    checked = check(lines(200, case="t{}"), different)
    assert checked.result.report.plan.smallest_gain == 0.499  # as of 20 rows, and not of 80
