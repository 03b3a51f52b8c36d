"""Postal addresses by their form."""

from __future__ import annotations

import time

import pytest

from benchmarks.names.labeled import labeled
from training_job.names.engine import addresses

WHOLE = (
    "12 High Street, Leeds LS1 4AB",
    "4410 N. Clark Street, Chicago, IL 60640",
    "9802 Willow Bend Dr, Plano, TX 75024-1234",
    "301 West 45th Street, New York, NY 10036",
    "221 Elm Ave Apt 9, Dayton, OH 45402",
    "PO Box 771, Boise, ID 83701",
    "P.O. Box 40",
    "2750 County Road 9, Brainerd, MN 56401",
    "6 Pine Court, Halifax, NS B3H 2Y9",
    "Flat 5, 112 Gloucester Road, Bristol BS7 8NT",
    "3 Ard na Mara, Dingle, Co. Kerry V92 X4F6",
    "The Old Forge, Llanfair Road, Ruthin LL15 1DD",
    "Hauptstraße 5, 80331 München",
    "Hauptstr. 22, 8001 Zürich",
    "Am Markt 12, 99084 Erfurt",
    "18 rue du Bac, 75007 Paris",
    "14 bis avenue Foch, 54000 Nancy",
    "55 Maple Ct",
    "12 High Street\nLeeds LS1 4AB",
    "30083 Ray Bridge Suite 128\nJohntown, ON B3E 5N9",
    "451 Fernandez Edge, Natalieton, VIC, 2641",
    "Studio 61, Knight Loop, South Hollie, W2S 2GE",
    "Felix-Schartner-Gasse 4, 8499 Frohnleiten",
    "Rohrmoserplatz 7/4, 3112 Leoben",
    "Vincentstraat 4\n3210SG\nVoorst",
    "Jannesteeg 9, 8924 XD, Buinen",
    "Via Elisa, 8, 89821, Vallelonga (VV)",
    "Paseo de Evaristo Salom 17 Puerta 5 , Salamanca, 07131",
    "ul. Długa 8, 31-147 Kraków",
    "PSC 3124, Box 41\nAPO AE 09123",
    "The Gables, 3 Church Lane, Little Snoring, Fakenham NR21 0HJ",
    "RR 2, 4519 Sawmill Road, Antigonish, NS B2G 2L2",
    "Bergmannstraße 102, Hinterhaus, 10961 Berlin",
    "Storgata 5, 0155 Oslo",
    "Prešernova cesta 14, 3000 Celje",
    "Carrer de Balmes 211, 3r 2a, 08006 Barcelona",
    "House 9, Road 27, Dhanmondi, Dhaka 1209",
    "Plot 6, Admiralty Way, Lekki, Lagos 105102",
)
NONE = (
    "Section 12 Street lighting is out of scope.",
    "Part 40 Spring Street Light, Item 7 Cross Hill Screw",
    "Run 14 Park brake tests and 3 Road noise tests.",
    "Order 12, 12345 Items",
    "Batch 12, 1000 Pumps",
    "Line 4 Drive fault, Zone 3 Lane 2 blocked.",
    "Model 2200 Court printer, 60 Square meters, Lot 7.",
    "He drove 12 miles, 5 of them on gravel.",
    "Dose 500 mg PO, box 12 of the form.",
    "Hemoglobin 11.2, Hematocrit 34, Platelets 210.",
)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("address", WHOLE)
def test_an_address_is_found_whole_and_nothing_beside_it(address: str) -> None:
    text = f"we wrote to {address}, twice."
    assert [text[start:end] for start, end in addresses(text)] == [address]


@pytest.mark.parametrize("town", ["80331 München", "8001 Zürich", "1052 Budapest", "60037 Frankfurt am Main"])
def test_an_address_ends_with_its_sentence(town: str) -> None:
    text = f"Send it to Hauptstraße 5, {town}. She moved there in May."
    assert [text[start:end] for start, end in addresses(text)] == [f"Hauptstraße 5, {town}"]


@pytest.mark.parametrize("text", NONE)
def test_what_only_looks_like_an_address_is_none(text: str) -> None:
    assert addresses(text) == []


def test_addresses_of_the_labeled_set_are_found() -> None:
    found = total = right = seen = 0
    for text, spans in labeled("test"):
        marked = [(start, end) for kind, start, end in spans if kind == "postal_address"]
        spotted = addresses(text)
        total, seen = total + len(marked), seen + len(spotted)
        found += sum(any(one <= start and end <= other for one, other in spotted) for start, end in marked)
        right += sum(any(one < end and start < other for start, end in marked) for one, other in spotted)
    assert (total, seen) >= (48, 45)
    assert (found / total >= 0.9, right / seen >= 0.95) == (True, True)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("part", ["12 High ", "A, ", "1 A Street, ", "Am Am Am 1, ", "Flat 1, ", "P.O. "])
def test_time_is_linear_in_a_hostile_text(part: str) -> None:
    def seconds(times: int) -> float:
        started = time.process_time()
        addresses(part * times)
        return time.process_time() - started

    assert seconds(8_000) < 12 * seconds(2_000) + 0.5
