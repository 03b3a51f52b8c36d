from __future__ import annotations

import gzip
import hashlib

import pytest

from shared.validation import codes


def test_a_clean_dataset_passes_and_its_version_is_the_hash_of_what_was_written(check, rows) -> None:
    checked = check(rows(300), rows(30, start=1000))
    report = checked.result.report
    assert (report.passed, report.problems, report.format) == (True, (), "chat")
    assert (report.statistics.train_rows, report.statistics.eval_rows) == (300, 30)
    assert report.eval_source == "file"
    assert report.not_searched_for == ("names of persons", "places", "postal addresses")
    both = hashlib.sha256(checked.train).digest() + hashlib.sha256(checked.eval).digest()
    assert checked.result.version == hashlib.sha256(both).hexdigest()


def test_canonical_rows_read_again_give_the_same_version(check, rows) -> None:
    first = check(rows(60, fault="pump"), rows(20, start=100, fault="valve"))
    again = check(first.train, first.eval)
    assert again.result.version == first.result.version
    assert (again.train, again.eval) == (first.train, first.eval)


@pytest.mark.few_cases(3)
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
    for name in ("Train.JSONL", "train.ndjson", "train.json", "train.txt", "train", "train.parquet"):
        assert check(rows(60), file_name=name).errors == []  # content decides
    assert check(gzip.compress(rows(60)), file_name="train.jsonl.gz").errors == []


def test_fewer_than_ten_rows_are_refused_and_fewer_than_fifty_are_warned_about(check, rows) -> None:
    few_eval = rows(20, start=100)
    assert check(rows(9), few_eval).codes == {"too_few_rows": ()}
    assert check(rows(10), few_eval).codes == {"few_rows": ()}
    assert check(rows(50), few_eval).codes == {}


def test_how_many_rows_there_are_is_not_said_of_a_file_in_which_no_line_is_json(check, rows) -> None:
    objects = rows(60).replace(b"\n", b"")
    assert check(objects, rows(20, start=100)).errors == ["invalid_json"]
    assert check(rows(1, b"{"), rows(20, start=100)).errors == ["invalid_json", "too_few_rows"]


def test_a_held_out_set_the_gate_can_never_accept_is_said_before_training(check, rows) -> None:
    checked = check(rows(60), rows(19, start=100))
    assert checked.codes == {"few_eval_rows": ()}
    assert checked.errors == ["few_eval_rows"]
    assert "19 held-out rows" in checked.result.report.problems[0].message


def test_every_code_that_the_recipe_and_license_checks_use_is_in_the_table() -> None:
    assert all(code.severity in ("error", "warning") and code.fix for code in codes.CODES.values())


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
