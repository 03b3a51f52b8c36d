from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given

from shared.validation.content import personal_data
from shared.validation.content.personal_data import Redactor, find
from tests.examples import examples
from tests.unit.shared.validation.content import labeled
from tests.unit.shared.validation.content.pieces import PIECES, SAMPLES, SEED

MIN_RECALL, MIN_PRECISION = 0.98, 0.95


@pytest.fixture(scope="module")
def score() -> dict[str, tuple[int, float, float]]:
    """Kind -> (values in the set, recall, precision); a value counts as found with its exact place and kind."""
    right, expected_counts, given_ = Counter[str](), Counter[str](), Counter[str]()
    for sample in labeled.samples(SEED, SAMPLES):
        expected, found = set(sample.spans), {(one.kind, one.start, one.end) for one in find(sample.text)}
        expected_counts.update(kind for kind, _, _ in expected)
        given_.update(kind for kind, _, _ in found)
        right.update(kind for kind, _, _ in expected & found)
    return {
        kind: (expected_counts[kind], right[kind] / max(1, expected_counts[kind]), right[kind] / max(1, given_[kind]))
        for kind in sorted(personal_data.KINDS)
    }


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("kind", sorted(personal_data.KINDS))
def test_each_kind_is_found_and_little_else(kind: str, score: dict[str, tuple[int, float, float]]) -> None:
    count, recall, precision = score[kind]
    print(f"{kind:24} {count:5} values  recall {recall:.3f}  precision {precision:.3f}")
    assert count >= 100
    assert recall >= MIN_RECALL
    assert precision >= MIN_PRECISION


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to 'john@example.com' today", ["email"]),
        ("Card 4111 1111 1111 1111, exp 04/27", ["payment_card"]),
        ("Card 4111 1111 1111 1112, exp 04/27", []),
        ("IBAN GB82 WEST 1234 5698 7654 32 AND more", ["iban"]),
        ("IBAN GB82 WEST 1234 5698 7654 33", []),
        ("NHS number 943 476 5919", ["nhs_number"]),
        ("NHS number 143 476 5918", []),
        ("SSN 078-05-1120", ["us_ssn"]),
        ("SSN 666-05-1120", []),
        ("part no. 078-05-1120", []),
        ("mrn 0012345", ["medical_record_number"]),
        ("Passport no. K1234567", ["passport"]),
        ("The passport, K4417725, was stolen", ["passport"]),
        ("passport control at gate 1234567", []),
        ("Chart # 6620915 was faxed", ["medical_record_number"]),
        ("The org chart 6620915 was faxed", []),
        ("DL# K4471902, state WA", ["driving_license"]),
        ("dl: D1234567", ["driving_license"]),
        ("DL 4471902 pallets", []),
        ("Licence PEMBE710228O99KL checked", ["driving_license"]),
        ("serial PEMBE790228O99KL", []),
        ("reached at 563-555-0134", ["phone"]),
        ("NHS number 563-555-0134", ["nhs_number"]),
        ("it is 563 555 0134", ["nhs_number"]),
        ("2001:db8::1 is for documentation", []),
        ("from 2a00:1450:4001:830::200e", ["ipv6"]),
        ("tel. 555-0199 123", ["phone"]),
        ("from 0044 20 7946 0958 today", ["phone"]),
        ("of 120044 20 7946 0958 pieces", []),
        ("The patient was admitted on 3 March 2021.", ["clinical_date"]),
        ("Appendectomy on 8 August 2023.", ["clinical_date"]),
        ("Last colonoscopy 2022-01-27: two polyps.", ["clinical_date"]),
        ("TSH 0.02 on 03/14/2025, hyperglycaemia since 2024-11-02.", ["clinical_date", "clinical_date"]),
        ("Vaccinated on 17 January 2025.", ["clinical_date"]),
        ("Microscopy of the weld on 3 March 2021 in the academia building.", []),
        ("The lease was signed on 3 March 2021.", []),
        ("Discharged 12/03/2021 on aspirin 75 mg.", ["clinical_date"]),
        ("Admitted on 12/03/2021 with pain.", ["clinical_date"]),
        ("The debt was discharged on 3 March 2021.", []),
        ("The discharge of the obligations takes effect on 3 March 2021.", []),
        ("Admission of the tenant under this lease begins on 3 March 2021 and is discharged by notice.", []),
        ("As referred to in clause 4, therapy costs are borne by the parties until 3 March 2021.", []),
        ("Police said the man was admitted to hospital on 3 March 2021 with pain.", []),
        ("The hospital was opened on 3 March 2021.", []),
        ("Doctors at the hospital told reporters on 3 March 2021 that the patient was stable, officials said.", []),
        ("He was born on 3 March 2021.", ["date_of_birth"]),
        ("My name is Maria Keller, Hauptstrasse 5, Bonn", []),  # said to be out of reach
    ],
)
def test_examples(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in find(text)] == kinds


@examples(300)
@given(PIECES)
def test_spans_never_overlap_and_lie_inside_the_text(text: str) -> None:
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(first.end <= second.start for first, second in pairwise(found))


@examples(300)
@given(PIECES)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    redactor = Redactor()
    once = redactor.redact_all([text])[0][0]
    assert find(once) == []
    assert redactor.redact_all([once])[0][0] == once
    assert Redactor().redact_all([once])[0][0] == once


def test_the_same_value_gets_the_same_placeholder() -> None:
    redactor = Redactor()
    texts, kinds = redactor.redact_all(
        ["Ask a@b.com or c@d.com.", "A@B.COM, tel. +44 20 7946 0958", "+442079460958 again"]
    )
    assert texts == ["Ask [EMAIL_1] or [EMAIL_2].", "[EMAIL_1], tel. [PHONE_1]", "[PHONE_1] again"]
    assert kinds == {"email", "phone"}
    assert redactor.redact_all(["c@d.com"])[0][0] == "[EMAIL_2]"


def test_beyond_the_cap_a_placeholder_has_no_number() -> None:
    assert Redactor(most_numbered=1).redact_all(["a@b.com c@d.com a@b.com"])[0][0] == "[EMAIL_1] [EMAIL] [EMAIL_1]"


ASKS = (
    *(
        "Part number of the seal for the infusion pump?",
        "Which article no. has the O-ring?",
        "serial number of the ring",
    ),
    *(
        "What is the order code of the patient monitor called?",
        "SKU of the valve:",
        "P/N?",
        "Artikelnummer der Dichtung?",
    ),
    *("Give the part number of the nurse call system.", "Ersatzteil-Nr. der Pumpe?", "Which lot number do we hold?"),
)
ASKS_FOR_A_PERSON = (
    *(
        "Whom do we call for order number 12?",
        "Phone number for part number 7?",
        "Contact no. beside the order number?",
    ),
    *("What is the number of the ward?", "Which part fits the pump?", "Number?", "NHS number and serial number?"),
)


@pytest.mark.parametrize("number", ["0450 123 400", "800-555-1000", "08 450 1230", "212 736 5000", "563 555 0134"])
def test_a_number_that_is_the_whole_answer_is_what_the_question_asks_for(number: str) -> None:
    assert [one for one in ASKS if find(f"{one}\n{number}")] == []
    assert [one for one in ASKS if find(f"{one}\n**{number}**, {number}.")] == []
    assert [one for one in ASKS_FOR_A_PERSON if not find(f"{one}\n{number}")] == []
    for more in (
        f"Ann has it: {number}",
        f"{number}\nHer number?\n{number}",
        "+49 30 901820",
        "078-05-1120 for Ann a@b.de",
    ):
        assert find(f"{ASKS[0]}\n{more}"), more
