"""The validation report on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.unit.cli.fake_api import RUN_ID, FakeDroptune

Cli = Callable[..., int]


def test_report_shows_each_problem_with_its_fix(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert droptune("report", RUN_ID) == 0
    output = capsys.readouterr().out
    for part in (
        "rejected",
        "empty_answer",
        "2 messages[1].content",
        "5 ...",
        "for: names of persons",
        "held-out beside training questions: train_questions 10, eval_questions 3, similarity (0.5, 0.75, 0.9)",
        "fill the answers or delete the rows",
    ):
        assert part in output
    assert droptune("report", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out)["problems"][0]["count"] == 3
