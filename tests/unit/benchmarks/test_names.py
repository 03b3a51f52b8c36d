"""The labeled sets and the score of `benchmarks.names`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.names.labeled import KINDS, Labeled, date_rows, dates, labeled, second_set, sentences_of
from benchmarks.names.score import KindScore, interval, score
from shared.validation.content import personal_patterns as checksums
from shared.validation.content.personal_data import find

TEXT = Labeled("Ann Lee of Bath, 2 Elm Row, Bath", (("person", 0, 7), ("place", 11, 15), ("postal_address", 17, 32)))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], KindScore(1, 0, 0, 0)),
        ([("person", 0, 7)], KindScore(1, 1, 1, 1)),
        ([("person", 0, 3), ("person", 4, 7)], KindScore(1, 1, 2, 1)),
        ([("person", 0, 3)], KindScore(1, 0, 1, 1)),
        ([("person", 0, 7), ("person", 11, 15)], KindScore(1, 1, 2, 0.5)),
    ],
)
def test_a_person_counts_as_found_where_each_letter_is(found: list[tuple[str, int, int]], expected: KindScore) -> None:
    assert score([TEXT], [found])["person"] == expected


def test_a_place_within_an_address_is_right() -> None:
    assert score([TEXT], [[("place", 11, 15), ("place", 28, 32)]])["place"] == KindScore(1, 1, 2, 1)


def test_only_kinds_that_are_marked_have_a_score() -> None:
    assert [*score([TEXT], [[("email", 0, 7)]])] == ["person", "place", "postal_address"]


def test_halves_share_no_text_and_each_kind_is_marked() -> None:
    tuning, test = second_set("tuning"), second_set("test")
    assert not {one.text for one in [*tuning, *labeled("tuning")]} & {one.text for one in [*test, *labeled("test")]}
    assert {kind for one in test for kind, _, _ in one.spans} == set(KINDS.values())


@pytest.mark.parametrize(
    ("kind", "is_valid"),
    [("payment_card", checksums.luhn), ("iban", checksums.iban), ("nhs_number", checksums.nhs_number)],
)
def test_marked_numbers_pass_their_check_digit(kind: str, is_valid: Callable[[str], bool]) -> None:
    data = [*second_set("tuning"), *second_set("test")]
    values = [
        "".join(filter(str.isalnum, text[at:end])) for text, spans in data for one, at, end in spans if one == kind
    ]
    assert (len(values) >= 8, [value for value in values if not is_valid(value)]) == (True, [])


ROWS = [*date_rows("unseen", "clinical"), *date_rows("unseen", "other")]
DATES = {
    "second set": ([*second_set("tuning"), *second_set("test")], 1.0, 1.0),
    "read": (dates("tuning"), 0.95, 0.95),
    "unseen rows": (ROWS, 0.85, 0.95),
    "their sentences": (sentences_of(ROWS), 0.65, 0.95),
}


@pytest.mark.parametrize(("data", "recall", "precision"), DATES.values(), ids=DATES)
def test_dates_of_the_clinic_are_found_and_hardly_any_other(
    data: list[Labeled], recall: float, precision: float
) -> None:
    kinds = ("date_of_birth", "clinical_date")
    found = [[("date", one.start, one.end) for one in find(text) if one.kind in kinds] for text, _ in data]
    scored = score(data, found)["date"]
    assert (scored.recall >= recall, scored.precision >= precision, scored.found > 10) == (True, True, True), scored


def test_each_date_of_a_row_is_in_one_of_its_sentences() -> None:
    marked, single = (
        [text[at:to] for text, spans in rows for _, at, to in spans] for rows in (ROWS, sentences_of(ROWS))
    )
    assert len(ROWS) == 80
    assert sorted(marked) == sorted(single)


def test_the_interval_is_wilson_s() -> None:
    assert [round(one, 3) for one in interval(0.9, 100)] == [0.826, 0.945]
    assert [round(one, 3) for one in interval(1.0, 10)] == [0.722, 1]
