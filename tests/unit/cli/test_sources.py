"""Records of other systems, whatever holds them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cli.common import InputError
from cli.mapping import Mapping, Record
from cli.sources import records_of

NOTE = base64.b64encode(b"Chest clear.").decode()
PAGE = base64.b64encode(b"<p>Mild <b>edema</b></p>").decode()
DOCUMENT: dict[str, Any] = {
    "resourceType": "DocumentReference",
    "id": "d1",
    "date": "2024-03-01",
    "type": {"coding": [{"display": "Progress note"}]},
    "subject": {"reference": "Patient/7"},
    "content": [
        {"attachment": {"contentType": "text/plain", "data": NOTE}},
        {"attachment": {"contentType": "text/html", "data": PAGE}},
        {"attachment": {"contentType": "application/pdf", "data": NOTE}},
    ],
}
OBSERVATION = {"resourceType": "Observation", "code": {"text": "Smoking"}, "valueString": "never"}
MESSAGE = (
    "MSH|^~\\&|LAB|H|EHR|H|202603021030||ORU^R01|1|P|2.5\r"
    "PID|1||881^^^H^MR||Doe^Jane\rOBR|1|||NOTE^Progress note\r"
    "OBX|1|TX|N||Line one \\T\\ more||||||F\rOBX|2|FT|N||Line two\\.br\\Line three||||||F\rNTE|1||A remark\r"
)


def read(path: Path, **settings: Any) -> list[Record]:
    return list(records_of(path, Mapping(prompt="x", answer="y", **settings)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'Asset,Text\nA,"leaks, badly"\n'),
        ("a.csv", "Asset;Text\r\nA;leaks, badly\r\n"),
        ("a.tsv", "Asset\tText\nA\tleaks, badly\n"),
        ("a.jsonl", '{"Asset": "A", "Text": "leaks, badly"}\n'),
        ("a.json", '[{"Asset": "A", "Text": "leaks, badly"}]'),
    ],
)
def test_a_table_is_read_as_the_validator_reads_it(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert read(tmp_path / name) == [{"Asset": "A", "Text": "leaks, badly"}]


def test_fixed_width_columns_count_from_one_to_their_last_character(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A001PUMP \n\nA002PRESS\n")
    found = read(tmp_path / "a.txt", format="fixed_width", columns={"id": (1, 4), "type": (5, 9)})
    assert found == [{"id": "A001", "type": "PUMP"}, {"id": "A002", "type": "PRESS"}]


@pytest.mark.parametrize("bundle", [True, False], ids=["bundle", "ndjson"])
def test_a_fhir_resource_is_its_own_values_and_all_that_was_written_in_it(tmp_path: Path, *, bundle: bool) -> None:
    resources = [DOCUMENT, OBSERVATION]
    whole = json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]})
    (tmp_path / "a.json").write_text(whole if bundle else "\n".join(map(json.dumps, resources)))
    document, observation = read(tmp_path / "a.json", format="fhir")
    assert document["text"] == "Chest clear.\nMild edema"
    assert (document["code"], document["subject"], document["date"]) == ("Progress note", "Patient/7", "2024-03-01")
    assert (observation["code"], observation["text"]) == ("Smoking", "never")


def test_a_fhir_resource_is_read_with_what_it_contains_and_sections_inside_sections(tmp_path: Path) -> None:
    inner = {"text": {"div": "<div>SpO2 &lt;90 &amp; falling</div>"}, "section": [{"text": {"div": "<p>Inner</p>"}}]}
    resources: list[dict[str, Any]] = [
        {"resourceType": "DiagnosticReport", "contained": [{"note": [{"text": "Aside"}]}], "conclusion": "Done"},
        {"resourceType": "Composition", "section": [inner], "subject": None},
        {"resourceType": "Encounter", "type": [{"text": "Visit"}], "content": None},
        {"resourceType": "Bundle", "type": "searchset"},
    ]
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, resources)).encode())
    found = [(one["code"], one["text"]) for one in read(tmp_path / "a.json", format="fhir")]
    assert found == [("", "Aside\nDone"), ("", "SpO2 <90 & falling\nInner"), ("Visit", ""), ("", "")]


@pytest.mark.parametrize(
    "content", ['{"resourceType": "Bundle", "entry": [{"fullUrl": "urn:1"}]}', '["text"]', "[]", "{}", '[{"a": null}]']
)
def test_what_is_no_fhir_resource_is_a_record_without_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert [one["text"] for one in read(tmp_path / "a.json", format="fhir")] == [""] * (content != "[]")


def test_an_hl7_message_may_have_other_separators(tmp_path: Path) -> None:
    other = str.maketrans({"|": "#", "^": "@", "~": "!"})
    message = MESSAGE.replace("Line one", "First~Line one")
    for name, text in {"a": message, "b": message.translate(other)}.items():
        (tmp_path / name).write_text(text)
    first, second = ([*read(tmp_path / name, format="hl7")] for name in "ab")
    assert first == [one | {"type": "ORU"} for one in second]
    assert first[0]["text"].startswith("First\nLine one & more")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_an_hl7_message_is_one_record_with_the_text_of_its_segments(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.hl7").write_bytes((MESSAGE * 2).replace("\r", end).encode())
    first, second = read(tmp_path / "a.hl7", format="hl7")
    assert first == second
    assert first["text"] == "Line one & more\nLine two\nLine three\nA remark"
    assert (first["type"], first["patient"], first["ordered"]) == ("ORU", "881", "Progress note")


def test_letters_are_divided_at_the_line_that_the_mapping_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Facts\n---\nDear Ms. Doe")
    (tmp_path / "a.txt").write_text("Facts alone")
    found = read(tmp_path, format="text", divider="---")
    assert [(one["file"], one["before"], one["after"]) for one in found] == [
        ("a.txt", "Facts alone", ""),
        ("b.txt", "Facts", "Dear Ms. Doe"),
    ]


def test_paragraphs_are_records_and_tabs_divide_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.norm").write_text("REPL\treplace\nHYD\thydraulic\nRING\t\n\nWELD\tweld\n")
    assert read(tmp_path / "a.norm", format="paragraphs") == [
        {"c1": "REPL HYD RING", "c2": "replace hydraulic"},
        {"c1": "WELD", "c2": "weld"},
    ]


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"\xff\xfe\x00bad", {"format": "hl7"}),
        (b"%PDF-1.7\n", {}),
        (b"just words\nand more\n", {}),
        (b"", {"format": "hl7"}),
        (b'{"resourceType": ', {"format": "fhir"}),
    ],
)
def test_what_cannot_be_read_is_an_input_error(tmp_path: Path, content: bytes, settings: dict[str, Any]) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(InputError):
        read(tmp_path / "a.bin", **settings)
