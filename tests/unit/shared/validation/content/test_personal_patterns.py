"""The patterns of personal data and their triggers."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from stdnum import ean

from shared.validation.content import personal_data
from shared.validation.content.personal_data import find, find_by
from shared.validation.content.personal_patterns import DETECTORS
from tests.examples import examples
from tests.unit.shared.validation.content import labeled
from tests.unit.shared.validation.content.pieces import PIECES, SAMPLES, SEED


@examples(1_000)
@given(PIECES)
def test_no_detector_finds_what_its_trigger_does_not_let_through(text: str) -> None:
    let_through = personal_data.likely(personal_data._GATE.hits(text))
    for detector in DETECTORS:
        if detector not in let_through:
            assert list(detector.find(text)) == []


@pytest.mark.ci
def test_the_detectors_that_are_likely_find_what_all_of_them_would() -> None:
    texts = [sample.text for sample in labeled.samples(SEED, SAMPLES)]
    assert [find(text) for text in texts] == [find_by(DETECTORS, text) for text in texts]


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def product_number(chance: random.Random, start: str) -> str:
    number = start + digits(chance, 12 - len(start))
    return number + ean.calc_check_digit(number)


# Numbers of products and parts, and in how many of a thousand they may be taken for personal data.
PRODUCTS: dict[str, tuple[Callable[[random.Random], str], int]] = {
    "an EAN of Germany": (lambda one: f"The pump has the EAN {product_number(one, '40')} on it.", 0),
    "an EAN alone": (lambda one: product_number(one, "4"), 0),
    "an EAN of Britain": (lambda one: f"{product_number(one, '50')} is blue", 0),
    "a GTIN of 14 digits": (lambda one: f"GTIN 3{product_number(one, '6')}", 0),
    "a part of Bosch": (lambda one: f"Bosch 0 {digits(one, 3)} {digits(one, 3)} {digits(one, 3)} injector", 0),
    "the same without its first blank": (lambda one: f"Bosch 0{digits(one, 3)} {digits(one, 3)} {digits(one, 3)}", 0),
    "a part of a truck": (lambda one: f"A {digits(one, 3)} {digits(one, 3)} {digits(one, 2)} {digits(one, 2)}", 2),
    "a seal": (lambda one: f"Order seal {digits(one, 3)}-{digits(one, 3)}-{digits(one, 4)} today", 0),
    "what is replaced": (lambda one: f"Replace 0{digits(one, 2)} {digits(one, 3)} {digits(one, 4)} today", 0),
    "what was fitted": (lambda one: f"Fitted {digits(one, 3)}-{digits(one, 3)}-{digits(one, 4)} and checked", 0),
    "what is being swapped": (lambda one: f"swapping 02{digits(one, 1)} 7946 {digits(one, 4)}", 0),
    "a valve": (lambda one: f"Replace the valve 0{digits(one, 2)} {digits(one, 3)} {digits(one, 4)}", 0),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("make", "most"), PRODUCTS.values(), ids=PRODUCTS)
def test_numbers_of_products_are_hardly_taken_for_personal_data(make, most) -> None:
    chance = random.Random(11)
    texts = [make(chance) for _ in range(1000)]
    assert sum(any(True for one in DETECTORS for _ in one.find(text)) for text in texts) <= most


LABELED = [
    "Call 0445 110 3690",
    "Call the pump room on 0445 110 3690",
    "Phone of Bosch: 030 1234567",
    "Tel. 030 1234567",
]


@pytest.mark.parametrize("text", LABELED)
def test_a_label_makes_it_a_telephone_number(text) -> None:
    assert {one.kind for one in DETECTORS for _ in one.find(text)} == {"phone"}


# Forms of dates, each part of which 45 CFR 164.514(b)(2)(i)(C) counts but a year alone, in a sentence about a patient.
DATES = (  # noqa: SIM905
    "03/04/2024 | 3/4/24 | 03.04.2024 | 3.4.2024 | 17.4.24 | 03-04-2024 | 2024-04-03 | 2024/04/03 | 2024.04.03"
    " | 2024-04-03T10:00 | 3-Apr-24 | 3-Apr-2024 | 03APR2024 | 3 Apr 24 | 3 April | 3rd Apr 2024 | the 3rd of April"
    " | 3 April 2024 | Apr 3rd | Apr 3, 2024 | April 3 | April the third | April the twenty-third | Wed 3 Apr"
    " | Monday, April 8, 2024 | Fri 19/04 | Thursday 6th | next Wednesday, April 24th | March 2024 | Nov '22"
    " | mid-May 2024 | the end of June 2024 | 10/2023 | 03.2024 | 03/04 | 17/03 | 9. April 2024 | 12. M\u00e4rz"
    " | 3 de abril de 2024 | 3 avril 2024 | 12 ao\u00fbt 2023 | 1er mars 2024"
).split(" | ")
BEHIND = {
    "on 4/3": "4/3",
    "since 20.3.": "20.3.",
    "on the 2nd": "2nd",
    "until March": "March",
    "by early June": "early June",
}
NO_DATES = (  # noqa: SIM905
    "power 4/5 in the left leg | pain 3/10 today | vision 6/9 | 0/14 nodes | on the 2nd floor | she may 20 times"
    " | BP 120/80 | in 2019 | ratio 1/2 | dose 2.5 mg | L4/5 | version 5.23.75 | at 10:30 | mar 3 walls"
).split(" | ")


@pytest.mark.parametrize(
    ("written", "date"), [*((f"seen {one}", one) for one in DATES), *BEHIND.items(), *((one, None) for one in NO_DATES)]
)
def test_each_form_of_a_date_is_found_whole_in_clinical_text(written: str, date: str | None) -> None:
    text = f"The patient has a fever of 39, {written}, and vomits."
    found = [text[one.start : one.end] for one in find(text)]
    assert found == ([] if date is None else [date])
    assert find(f"The lease, {written}, and the rent.") == []


@pytest.mark.parametrize("written", ["4.3.51", "4 Mar 1951", "March 1951", "1951-03-04", "the 4th of March 1951"])
def test_a_birth_date_is_found_in_any_text(written: str) -> None:
    assert [one.kind for one in find(f"Employee, born {written}, joined in spring.")] == ["date_of_birth"]
