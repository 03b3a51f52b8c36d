"""The page of an expert: whom it answers, and the file of decisions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.expert_page import Task, make_app, read_decisions, sampled
from tests.paths import ROOT

TOKEN = "secret"


def task(folder: Path, reviewer: str = "Ana") -> Task:
    return Task(
        ("r1", "r2", "r3"), lambda row: {"answer": row}, lambda given: given, folder / "x.review.jsonl", reviewer
    )


def client(page: Task, host: str = "127.0.0.1:8000") -> TestClient:
    return TestClient(make_app(page, TOKEN), base_url=f"http://{host}")


def post(api: TestClient, row: str, decision: str, **more: Any) -> int:
    return api.post(f"/{TOKEN}/decisions", json={"row": row, "decision": decision, **more}).status_code


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    api = client(task(tmp_path))
    assert post(api, "r1", "accepted") == 200
    assert post(api, "r2", "skipped") == 200
    assert post(api, "r3", "rejected", reason="wrong") == 200
    assert post(api, "r3", "undone") == 200
    assert post(client(task(tmp_path, "Ben")), "r3", "accepted") == 200
    again = client(task(tmp_path)).get(f"/{TOKEN}/rows").json()
    assert again == {"rows": ["r1", "r2", "r3"], "known": [["r1", "accepted"], ["r2", "skipped"]]}
    assert len((tmp_path / "x.review.jsonl").read_bytes().splitlines()) == 5


def test_an_older_page_that_skips_a_row_leaves_its_decision(tmp_path: Path) -> None:
    first, second = client(task(tmp_path)), client(task(tmp_path))
    for decision in ("skipped", "accepted"):
        assert post(first, "r1", decision) == 200
    assert post(second, "r1", "skipped") == 200
    assert [one.decision for one in read_decisions(tmp_path / "x.review.jsonl")] == ["accepted"]
    for decision in ("undone", "skipped"):
        assert post(second, "r1", decision) == 200
    assert [one.decision for one in read_decisions(tmp_path / "x.review.jsonl")] == ["skipped"]


def test_a_line_that_a_crash_cut_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.review.jsonl"
    post(client(task(tmp_path)), "r1", "accepted")
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        post(client(task(tmp_path)), "r2", "accepted")
        assert [one.row for one in read_decisions(path)] == ["r1", "r2"], cut
        assert capsys.readouterr().err == (
            "" if cut == len(whole) - 1 else "x.review.jsonl, line 2: no decision, not read\n"
        )


def test_only_who_has_the_address_is_answered(tmp_path: Path) -> None:
    api = client(task(tmp_path))
    for path in ("/", "/rows", "/decisions", "/index.html", "/docs", "/openapi.json", "/wrong/rows", "/wrong/"):
        assert api.get(path).status_code == 404, path
    assert api.post("/wrong/decisions", json={"row": "r1", "decision": "accepted"}).status_code == 404
    assert not (tmp_path / "x.review.jsonl").exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0:8000"])
def test_a_name_that_was_bound_to_this_address_is_refused(tmp_path: Path, host: str) -> None:
    api = client(task(tmp_path), host)
    assert api.get(f"/{TOKEN}/rows").status_code == 400
    assert post(api, "r1", "accepted") == 400
    assert not (tmp_path / "x.review.jsonl").exists()


def test_every_answer_has_the_headers_that_shut_others_out(tmp_path: Path) -> None:
    api = client(task(tmp_path))
    for answer in (api.get(f"/{TOKEN}/"), api.get(f"/{TOKEN}/expert.js"), api.get(f"/{TOKEN}/rows"), api.get("/")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_a_row_that_the_page_does_not_have_cannot_be_decided(tmp_path: Path) -> None:
    api = client(task(tmp_path))
    assert api.get(f"/{TOKEN}/rows/r2").json() == {"answer": "r2"}
    assert api.get(f"/{TOKEN}/rows/r9").json() == {}
    assert post(api, "r9", "accepted") == 422
    assert api.get(f"/{TOKEN}/..%2fexpert_page.py").status_code == 404


def test_who_decided_and_when_is_not_for_the_page_to_say(tmp_path: Path) -> None:
    post(client(task(tmp_path)), "r1", "accepted", reviewer="Ben", at="2000-01-01T00:00:00Z")
    written = json.loads((tmp_path / "x.review.jsonl").read_text())
    assert written["reviewer"] == "Ana"
    assert written["at"] > "2020"


def test_a_sample_is_the_same_for_everybody_and_a_part_of_a_larger_one() -> None:
    rows = {f"{n * 7919 % 1000:03}": n for n in range(100)}
    small, large = sampled(rows, 10), sampled(rows, 20)
    assert len(small) == 10
    assert small.items() <= large.items()
    assert [*small.values()] == sorted(small.values())
    assert sampled(rows, None) == rows


def test_the_page_shows_hidden_characters_as_the_page_of_a_run_does() -> None:
    ours, theirs = (
        re.search(r"const HIDDEN =\s+(\S+)", (ROOT / path).read_text())
        for path in ("cli/static/expert.js", "functions/http/static/dom.js")
    )
    assert ours
    assert theirs
    assert ours[1] == theirs[1]
    assert "innerHTML" not in (ROOT / "cli/static/expert.js").read_text()
