from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.dataset import DatasetRef, Policy
from shared.validation import codes, curated_version, spooled_sink, validate

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


def test_blank_lines_are_skipped_counted_and_keep_the_line_numbers_true(check, rows) -> None:
    checked = check(b"\n  \r\n" + rows(300, b"", b"broken"))
    assert checked.codes == {"invalid_json": (304,), "blank_line": (1, 2, 303)}


def test_a_group_shows_twenty_rows_and_counts_all(check, rows) -> None:
    (problem,) = check(rows(60, *[b"x"] * 35)).result.report.problems
    assert (problem.code, problem.count, problem.rows) == ("invalid_json", 35, tuple(range(61, 81)))


def test_errors_come_before_warnings(check, rows) -> None:
    severities = [p.severity for p in check(b"\n" + rows(20, b"x")).result.report.problems]
    assert severities == ["error", "warning", "warning"]


# With ids: those pytest makes of gzip's bytes hold the time, and two workers collect at different times.
@pytest.mark.parametrize(
    "data",
    [b"", b"\xef\xbb\xbf", gzip.compress(b""), b"\n\n"],
    ids=["nothing", "byte order mark", "packed nothing", "blank lines"],
)
def test_a_file_without_rows_is_empty(check, data) -> None:
    assert check(data).errors == ["empty_dataset"]


def test_an_empty_held_out_file_is_an_error_and_not_a_reason_to_split(check, rows) -> None:
    checked = check(rows(60), b"")
    assert checked.errors == ["empty_dataset"]
    assert checked.result.report.eval_source == "file"


@pytest.mark.parametrize(
    "data",
    ["{}\n".encode("utf-16"), "{}\n".encode("utf-16-le"), b"\0\0\0\0", b"P\0K\3"],
    ids=["UTF-16", "UTF-16 without mark", "zeros", "binary"],
)
def test_what_is_not_utf8_text_says_so_once(check, data) -> None:
    assert check(data).errors == ["not_utf8", "too_few_rows"]


def test_damaged_and_cut_off_gzip_is_refused(check, rows) -> None:
    packed = gzip.compress(rows(300))
    assert "invalid_gzip" in check(packed[:-20]).errors
    assert "invalid_gzip" in check(packed[:50] + b"\xff\xff\xff" + packed[53:]).errors
    assert "invalid_gzip" in check(packed + b"trailing").errors


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
    assert checked.codes == {"near_duplicate": tuple(range(101, 121))}
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


def test_an_over_long_row_is_reported_and_the_next_one_read(check, rows) -> None:
    data = rows(60, b"x" * (codes.MAX_ROW_BYTES + 1)) + rows(1, start=99)
    for size in (70_001, 2 * codes.MAX_ROW_BYTES):
        checked = check([data[i : i + size] for i in range(0, len(data), size)], rows(20, start=100))
        assert checked.codes == {"row_too_long": (61,)}
        assert checked.result.report.statistics.train_rows == 61


PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf",
        b'{"messages":[]}',
        b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}',
        b"prompt,completion\n",
        b'"a, b",c\n',
        b'{"prompt":"p","completion":"c"}\n',
        b'{"messages":[{"role":"user","content":"q"}],"k":1}\n',
        b'{"messages":[{"role":"user","content":"\xc3\xa9"},{"role":"assistant","content":"b"}],"k":1}',
    ]
)


def outcome(chunks: list[bytes]) -> tuple[Any, ...]:
    with spooled_sink() as sink:
        result = validate(
            chunks,
            None,
            None,
            project="part-codes",
            file_name="train.jsonl",
            default_base_model="droptune/tiny-llama",
            sink=sink,
        )
        return result, sink.train.read(), sink.eval.read()


@settings(deadline=None, max_examples=100)
@given(st.lists(PIECES, max_size=40), st.sampled_from(["plain", "packed", "cut", "damaged"]), st.integers(1, 60))
def test_the_result_does_not_depend_on_the_size_of_the_chunks(pieces, form, size) -> None:
    data = b"".join(pieces)
    packed = gzip.compress(data)
    damaged = packed[: len(packed) // 2] + b"\xff" + packed[len(packed) // 2 + 1 :]
    data = {"plain": data, "packed": packed, "cut": packed[:-9], "damaged": damaged}[form]
    assert outcome([data[i : i + size] for i in range(0, len(data), size)]) == outcome([data])


def test_every_code_that_the_recipe_and_license_checks_use_is_in_the_table() -> None:
    assert all(code.severity in ("error", "warning") and code.fix for code in codes.CODES.values())


def test_rows_of_a_group_are_all_held_out_or_all_trained_on(check, rows) -> None:
    data = b"".join(rows(3, start=3 * group, patient=f"p{group}") for group in range(100))
    checked = check(data, recipe=b"data: {split_group: patient}")
    sides = [
        {json.loads(line)["item"]["patient"] for line in part.splitlines()} for part in (checked.train, checked.eval)
    ]
    assert [len(side) for side in sides] == [90, 10]
    assert not sides[0] & sides[1]
    ungrouped = check(data)
    assert {json.loads(line)["item"]["patient"] for line in ungrouped.eval.splitlines()} & {
        json.loads(line)["item"]["patient"] for line in ungrouped.train.splitlines()
    }


def test_a_row_without_the_group_is_an_error(check, rows) -> None:
    data = rows(300, patient="p1") + rows(1, start=900)
    assert check(data, recipe=b"data: {split_group: patient}").codes == {"split_group_field_missing": (301,)}


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
