"""`droptune map`: records of another system become rows to train on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., int]

ORDERS = "Asset,Date,Text\nA,2024-01-05,seal leaks\nA,2024-02-01,\nB,2024-01-09,belt torn\n"
MAPPING = {"prompt": "{{ Asset }}: {{ Text }}", "answer": "{{ Date }}", "keep": {"asset": "{{ Asset }}"}}


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS)
    return path


def saved(folder: Path, **changed: Any) -> str:
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(MAPPING | changed))
    return str(path)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_without_a_mapping_the_columns_are_shown_and_one_is_written_to_fill_in(
    droptune: Cli, capsys: pytest.CaptureFixture[str], orders: Path
) -> None:
    assert droptune("map", str(orders)) == 0
    shown = capsys.readouterr().out
    assert "2 of 3" in shown
    assert "seal leaks" in shown
    draft = yaml.safe_load(Path("droptune-mapping.yaml").read_text())
    assert draft["prompt"] == "Asset: {{ Asset }}\nDate: {{ Date }}\nText: {{ Text }}\n"
    Path("droptune-mapping.yaml").write_text("mine")
    assert droptune("map", str(orders)) == 0
    assert Path("droptune-mapping.yaml").read_text() == "mine"


def test_a_preview_shows_rows_and_writes_nothing(
    droptune: Cli, capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    assert droptune("map", str(orders), "--mapping", saved(tmp_path), "--preview", "1") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["messages"][0]["content"] == "A: seal leaks"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mapping.yaml", "orders.csv"]


def test_every_record_is_a_row_or_counted_with_its_reason(
    droptune: Cli, capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    output = tmp_path / "train.jsonl"
    assert droptune("map", str(orders), "--mapping", saved(tmp_path, require=["Text"]), "--output", str(output)) == 0
    assert [row["asset"] for row in rows_of(output)] == ["A", "B"]
    printed = capsys.readouterr()
    assert printed.out.startswith("2 rows written")
    assert "left out: 1 records, the first is number 2: no Text" in printed.err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": "{{ Unit }}"}, "record 1: 'Unit' is undefined; the columns are Asset, Date, Text"),
        ({"prompt": "{{ Text"}, "a template cannot be read"),
        ({"promt": "x"}, "promt: Extra inputs are not permitted"),
        ({"prompt": "", "answer": ""}, "prompt: String should have at least 1 character; answer: "),
        ({"format": "fixed_width"}, "fixed_width needs columns"),
        ({"format": "hl7"}, "has no HL7 message"),
        ({"answer": "TODO"}, "the mapping's answer is still TODO"),
        ({"answer": "{{ '' }}"}, "left out: 3 records, the first is number 1: the answer would be empty"),
        ({"history": {"by": "Asset", "time": "Text"}}, "number 1: no time in Text: see history.time_format"),
    ],
)
def test_a_mapping_that_does_not_fit_says_why_and_leaves_the_old_file(
    droptune: Cli,
    capsys: pytest.CaptureFixture[str],
    orders: Path,
    tmp_path: Path,
    changed: dict[str, Any],
    message: str,
) -> None:
    output = tmp_path / "train.jsonl"
    output.write_text("old")
    assert droptune("map", str(orders), "--mapping", saved(tmp_path, **changed), "--output", str(output)) == 1
    assert message in capsys.readouterr().err
    assert output.read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))


def test_a_preview_without_a_row_says_why_and_is_refused(
    droptune: Cli, capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    assert droptune("map", str(orders), "--mapping", saved(tmp_path, answer="{{ '' }}")) == 1
    assert "left out: 3 records" in capsys.readouterr().err


def test_an_answer_that_stands_in_its_prompt_is_reported(
    droptune: Cli, capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    assert droptune("map", str(orders), "--mapping", saved(tmp_path)) == 0
    assert "stands in the prompt" not in capsys.readouterr().err
    assert droptune("map", str(orders), "--mapping", saved(tmp_path, answer="{{ Asset }}")) == 0
    assert "the answer stands in the prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.hl7", "MSH|^~\\&|LAB|||||||P\rOBX|1|TX|N||text\r", "hl7"),
        ("a.json", '{"resourceType": "Observation", "valueString": "x"}', "fhir"),
        ("a.txt", "A001PUMP \nA002PRESS\nA003OVEN \n", "fixed_width"),
        ("a.csv", "a,b\n1,2\n3,4\n", "auto"),
    ],
)
def test_the_form_of_a_file_is_seen_by_its_content(
    droptune: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    assert droptune("map", name) == 0
    assert yaml.safe_load(Path("droptune-mapping.yaml").read_text())["format"] == form
