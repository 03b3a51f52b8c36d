from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from shared.domain.dataset import DatasetRef, Policy
from shared.validation import codes, curated_version

RECIPE = b"base_model: droptune/tiny-llama\n"


def test_a_clean_dataset_passes_and_its_version_is_the_hash_of_what_was_written(check, rows) -> None:
    checked = check(rows(300), rows(30, start=1000))
    report = checked.result.report
    assert (report.passed, report.problems, report.format) == (True, (), "chat")
    assert (report.statistics.train_rows, report.statistics.eval_rows) == (300, 30)
    assert report.eval_source == "file"
    both = hashlib.sha256(checked.train).digest() + hashlib.sha256(checked.eval).digest()
    assert checked.result.version == hashlib.sha256(both).hexdigest()


def test_canonical_rows_read_again_give_the_same_version(check, rows) -> None:
    first = check(rows(60, fault="pump"), rows(20, start=100, fault="valve"))
    again = check(first.train, first.eval)
    assert again.result.version == first.result.version
    assert (again.train, again.eval) == (first.train, first.eval)


def test_statistics_count_the_characters_of_the_rows_that_are_kept(check, rows) -> None:
    long = {
        "messages": [
            {"role": "user", "content": "x" * 500},
            {"role": "user", "content": "é"},
            {"role": "assistant", "content": "y" * 10},
        ]
    }
    statistics = check(rows(60, long, b"broken"), rows(20, start=100)).result.report.statistics
    assert (statistics.train_rows, statistics.characters_max) == (61, 511)
    assert statistics.messages_mean == round((80 * 2 + 3) / 81, 3)


@pytest.mark.parametrize(
    "form",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        gzip.compress,
        lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + b"\0" * 512,
    ],
    ids=["byte order mark", "CRLF", "no final newline", "gzip", "gzip in two members, padded"],
)
def test_other_ways_to_write_the_same_rows_give_the_same_version(check, rows, form) -> None:
    plain = check(rows(300)).result
    assert check(form(rows(300))).result == plain
    assert plain.version is not None


def test_a_group_shows_twenty_rows_and_counts_all(check, rows) -> None:
    (problem,) = check(rows(60, *[b"x"] * 35)).result.report.problems
    assert (problem.code, problem.count, problem.rows) == ("invalid_json", 35, tuple(range(61, 81)))


def test_errors_come_before_warnings(check, rows) -> None:
    severities = [p.severity for p in check(b"\n" + rows(20, b"x")).result.report.problems]
    assert severities == ["error", "warning", "warning"]


def test_an_empty_held_out_file_is_an_error_and_not_a_reason_to_split(check, rows) -> None:
    checked = check(rows(60), b"")
    assert checked.errors == ["empty_dataset"]
    assert checked.result.report.eval_source == "file"


def test_names_that_cannot_be_used_are_errors(check, rows) -> None:
    assert check(rows(60), project="Part_Codes").errors == ["project_name"]
    assert check(rows(60), file_name="train.parquet").errors == ["unsupported_file_type"]
    assert check(gzip.compress(rows(60)), file_name="train.jsonl.gz").errors == []


def test_fewer_than_ten_rows_are_refused_and_fewer_than_fifty_are_warned_about(check, rows) -> None:
    few_eval = rows(20, start=100)
    assert check(rows(9), few_eval).codes == {"too_few_rows": ()}
    assert check(rows(10), few_eval).codes == {"few_rows": ()}
    assert check(rows(50), few_eval).codes == {}


def test_a_held_out_set_the_gate_can_never_accept_is_said_before_training(check, rows) -> None:
    checked = check(rows(60), rows(19, start=100))
    assert checked.codes == {"few_eval_rows": ()}
    assert checked.errors == ["few_eval_rows"]
    assert "19 held-out rows" in checked.result.report.problems[0].message


def test_exact_copies_are_counted_and_near_ones_are_not(check, rows) -> None:
    copy = json.loads(rows(1))
    other = {**copy, "fault": "pump"}
    checked = check(rows(60, copy, other, copy), rows(20, start=100))
    assert checked.codes == {"ignored_field": (), "duplicate_row": (61, 63)}


def test_a_training_row_that_is_also_held_out_blocks(check, rows) -> None:
    checked = check(rows(60), rows(20, start=58))
    assert checked.codes == {"train_eval_overlap": (59, 60)}


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


def test_every_code_that_the_recipe_and_license_checks_use_is_in_the_table() -> None:
    assert all(code.severity in ("error", "warning") and code.fix for code in codes.CODES.values())


def test_the_manifest_says_what_was_read_from_where_and_by_which_rules(check, rows) -> None:
    source = DatasetRef(path="datasets/part-codes/train.jsonl", etag="e", size_bytes=1, sha256="0" * 64)
    checked = check(b"\n" + rows(300, fault="pump"), recipe=b"data: {validation_split: 0.2, split_group: fault}")
    assert checked.errors == ["no_eval_rows"]
    checked = check(b"\n" + rows(300), recipe=b"data: {validation_split: 0.2}")
    manifest = curated_version(checked.result, "part-codes", source)
    assert manifest.version == checked.result.version
    assert (manifest.rows_read, manifest.rows_dropped, manifest.train_rows, manifest.eval_rows) == (300, 0, 240, 60)
    assert manifest.policy == Policy(
        eval_source="split", validation_split=0.2, split_group=None, seed=42, near_duplicates="grouped"
    )
    assert (manifest.format, manifest.container, manifest.validator) == ("chat", "jsonl", "4")
    assert curated_version(check(rows(60), rows(20, start=100)).result, "x", source).policy == Policy(
        eval_source="file"
    )


def test_a_grader_that_can_never_work_is_reported_with_its_path_and_the_rows_are_still_read(check, rows) -> None:
    recipe = b"""
evaluation:
  graders:
    - {name: exact, type: string_check}
    - {name: mix, type: multi, calculate_output: a * 2, graders: {a: {type: string_check}}}
    - {name: form, type: regex, pattern: "("}
    - {name: py, type: python, source: "def grade(sample): return 1"}
"""
    checked = check(rows(60, b"no json"), rows(20, start=100), recipe)
    assert checked.errors == ["recipe_value", "recipe_value", "recipe_value", "invalid_json"]
    messages = " ".join(problem.message for problem in checked.result.report.problems)
    for path in ("graders[1].calculate_output:", "graders[2].pattern:", "graders[3].source:"):
        assert f"evaluation.{path}" in messages
