from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.recipe import Data
from shared.validation.codes import CONTENT_CODES
from shared.validation.content.row_scan import RowScan
from tests.examples import examples
from tests.unit.shared.validation.content import labeled
from tests.unit.shared.validation.content.scanned import Scan, prose, row, scanned


def test_personal_data_blocks_by_default_and_no_value_is_reported() -> None:
    problems = scanned([row("Write to anna@example.com", "Done."), row("And again anna@example.com?", "No.")])
    assert problems["personal_data"].severity == "error"
    assert (problems["personal_data"].count, problems["personal_data"].rows) == (2, (1, 2))
    assert "email" in problems["personal_data"].message
    assert "anna" not in repr(problems)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("retaining ring", True),
        ("o-ring gland", True),
        ("mobile crane", True),
        ("password policy", True),
        ("call 555-867-5309", False),
        ("ada@example.com", False),
        ("AKIAIOSFODNN7EXAMPL2", False),
        ("<|im_start|>system", False),
    ],
)
def test_a_value_is_shown_unless_a_detector_finds_something_in_it(value: str, plain: bool) -> None:
    assert RowScan(Data()).is_plain(value) is plain


def test_a_date_in_clinical_text_warns_only() -> None:
    problems = scanned([row("The patient was admitted on 3 March 2021.", "Noted.")])
    assert {code: one.severity for code, one in problems.items()} == {"clinical_date": "warning"}


UNDECIDED, CLINICAL = row("Back on 3 May 2021.", "Fine."), row("Fever and cough since 3 May 2021.", "Pneumonia.")
LEASE = row("The lease began on 3 May 2021.", "And the rent?")


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([CLINICAL] * 9 + [UNDECIDED] * 3, {"clinical date": 9, "as most other rows": 3}),
        ([CLINICAL] * 9 + [UNDECIDED] * 3 + [LEASE], {"clinical date": 9, "as most other rows": 3}),
        ([CLINICAL] * 9 + [UNDECIDED] * 3 + [LEASE] * 2, {"clinical date": 9}),
        ([CLINICAL] * 9 + [UNDECIDED] * 10, {"clinical date": 9}),
        ([CLINICAL] * 4 + [UNDECIDED], {"clinical date": 4}),
        ([UNDECIDED] * 9, {}),
    ],
)
def test_most_rows_show_what_a_date_in_any_other_is_whatever_their_order(rows: Any, counts: dict[str, int]) -> None:
    for seed in range(5):
        scan, ordered = Scan(), rows.copy()
        random.Random(seed).shuffle(ordered)
        for number, messages in enumerate(ordered, start=1):
            scan.row(number, "train", messages)
        scan.found()
        found = [one for one in scan.groups() if one.code == "clinical_date"]
        assert {words: one.count for one in found for words in counts if words in one.message} == counts
        assert len(found) == len(counts)


@pytest.mark.parametrize("policy", [Data(personal_data="allow"), Data(personal_data_allowed=("clinical_date",))])
def test_dates_that_are_allowed_are_not_judged_by_other_rows(policy: Data) -> None:
    scan = Scan(policy)
    for number, messages in enumerate([CLINICAL] * 9 + [UNDECIDED], start=1):
        scan.row(number, "train", messages)
    assert "clinical_date" not in scan.found()


def test_every_code_reads_as_a_sentence_with_a_fix() -> None:
    for code in CONTENT_CODES.values():
        assert code.message.endswith((".", ":")) or code.message.endswith("{detail}).")
        assert code.fix.endswith((".", "))"))


@examples(25)
@given(st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True), st.randoms())
def test_counts_of_content_do_not_depend_on_the_order_of_rows(seeds: list[int], chance: random.Random) -> None:
    rows = [row(labeled.samples(seed, 1)[0].text, f"Noted {seed}.") for seed in seeds]
    shuffled = rows.copy()
    chance.shuffle(shuffled)

    def counts(ordered: list[list[dict[str, Any]]]) -> dict[tuple[str, str], int]:
        scan = Scan(bits=8)
        for number, messages in enumerate(ordered, start=1):
            scan.row(number, "train", messages)
        kinds = ("personal_data", "clinical_date", "secret", "control_tokens")
        return {(one.code, one.message): one.count for one in scan.groups() if one.code in kinds}

    assert counts(rows) == counts(shuffled)


def test_a_row_that_says_nearly_the_same_as_others_names_the_first_of_them() -> None:
    chance, scan = random.Random(5), Scan()
    first, other = prose(chance, 60), prose(chance, 60)
    for number, text in enumerate([first, other, f"{first} now", f"{other} then", f"{first} again"], start=1):
        scan.row(number, "train", row("Why?", text))
    found = scan.found()["near_duplicate"]
    assert [*zip(found.rows, found.parts, strict=True)] == [(3, "like row 1"), (4, "like row 2"), (5, "like row 1")]
