"""The fields that a recipe needs in each row."""

from __future__ import annotations

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
