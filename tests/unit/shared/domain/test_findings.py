"""What checks find, grouped and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.domain.findings import ROWS_SHOWN, Findings, ProblemCode, counted, read_codes

CODES = {
    "mild": ProblemCode("warning", "mild: {detail}", "keep {remedy}"),
    "bad": ProblemCode("error", "bad", "correct it"),
}


def test_occurrences_are_grouped_by_code_file_and_detail_and_errors_come_first() -> None:
    findings = Findings(CODES)
    findings.add("mild", "train", 3, 30, detail="a")
    findings.add("mild", "train", 5, 50, detail="b", part="item.x")
    findings.add("mild", "train", 7, 70, detail="a")
    assert not findings.failed
    findings.add("bad", "eval", 1)
    assert findings.failed
    found = [(one.code, one.file, one.count, one.rows, one.offsets, one.parts) for one in findings.problems()]
    assert found == [
        ("bad", "eval", 1, (1,), (0,), ()),
        ("mild", "train", 2, (3, 7), (30, 70), ()),
        ("mild", "train", 1, (5,), (50,), ("item.x",)),
    ]
    assert findings.counts("mild") == [("train", "a", 2), ("train", "b", 1)]


def test_all_are_counted_and_the_first_rows_are_shown() -> None:
    findings = Findings(CODES)
    for row in range(1, 101):
        findings.add("bad", "train", row)
    findings.count("bad", "train", "", 5)
    findings.add_many("mild", "train", "d", 60, range(1, 61), remedy="these")
    bad, mild = findings.problems()
    assert (bad.count, bad.rows) == (105, tuple(range(1, ROWS_SHOWN + 1)))
    assert (mild.count, mild.rows, mild.message, mild.fix) == (60, tuple(range(1, 21)), "mild: d", "keep these")


def test_a_detail_that_is_known_at_the_end_is_put_in_and_explains_nothing_that_was_not_found() -> None:
    findings = Findings(CODES)
    findings.add("mild", "train", 1)
    findings.replace("mild", "train", "", ("mild", "late", ""))
    findings.replace("bad", "train", "", ("bad", "late", ""))
    [mild] = findings.problems()
    assert (mild.message, mild.fix) == ("mild: late", "keep the others")


def test_a_code_that_is_not_declared_cannot_be_found() -> None:
    with pytest.raises(AssertionError, match="unknown"):
        Findings(CODES).add("unknown", "train")


@pytest.mark.parametrize(("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_a_number_and_its_noun_agree(count: int, words: str) -> None:
    assert counted(count, "row") == words


def test_codes_are_read_from_a_table_each_and_a_wrong_severity_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "codes.toml"
    file.write_text('[bad]\nseverity = "error"\nmessage = "bad"\nfix = "correct it"\n')
    assert read_codes(str(file)) == {"bad": CODES["bad"]}
    file.write_text('[bad]\nseverity = "fatal"\nmessage = "bad"\nfix = "correct it"\n')
    with pytest.raises(ValidationError):
        read_codes(str(file))
