"""Decision records have a number, a status and a date, and the index lists each."""

from __future__ import annotations

import re

import pytest

from tests.paths import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("0*.md"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_is_in_the_index_with_its_number_title_date_and_status(record: str) -> None:
    text = (FOLDER / record).read_text(encoding="utf-8")
    found = re.match(r"# (\d+)\. (.+)\n\nStatus: (.+)\. Date: (\d{4}-\d\d-\d\d)\.\n", text)
    assert found is not None
    number, title, status, date = found.groups()
    name = (FOLDER / record).name
    assert name.startswith(f"{int(number):04}-")
    row = re.search(rf"^\| {number} \| \[(.+)\]\({name}\) \| .+ \| (.+) \| (.+) \|$", INDEX, re.MULTILINE)
    assert row is not None
    assert row.groups() == (title, date, status)


def test_every_number_is_in_the_index_once_and_in_order() -> None:
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", INDEX, re.MULTILINE)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == max(int(record.name[:4]) for record in RECORDS)
