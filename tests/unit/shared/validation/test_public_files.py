"""Tuning files that nobody here wrote; they are not part of the repository."""

from __future__ import annotations

from typing import Any

import pytest

from tests.paths import ROOT

FOLDER = ROOT.parent / "shared/data/public"
FILES = sorted(FOLDER.glob("*.jsonl"))
pytestmark = pytest.mark.skipif(not FILES, reason="the public files are not beside the repository")


# Some of them have 10 rows.
SMALL = b"evaluation: {gate: {min_rows: 2}}"


def named(*starts: str) -> list[Any]:
    found = [path for path in FILES if path.name.startswith(starts)]
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.mark.parametrize("path", named("Supervised_"))
def test_public_chat_and_tool_calling_files_have_no_errors(check, path) -> None:
    checked = check(path.read_bytes(), recipe=SMALL, file_name=path.name)
    assert checked.errors == []
    lines = len(path.read_text().splitlines())
    statistics = checked.result.report.statistics
    assert statistics.train_rows + statistics.eval_rows == lines


RECIPES = {
    # Its rows hold birthdays of public figures, which block as long as nobody allows them.
    "preference": b"method: {type: dpo}\ndata: {personal_data: allow}",
    "reinforcement": b"""
method: {type: reinforcement, graders: [{name: hit, type: string_check, reference: "{{item.target}}"}]}
evaluation: {graders: [{name: has, type: string_check, operation: like, reference: "{{item.target}}"}]}
""",
}


@pytest.mark.parametrize("path", named("Direct_", "RFT_"))
def test_public_preference_and_reinforcement_files_have_no_errors_with_their_method(check, path) -> None:
    kind = "preference" if path.name.startswith("Direct_") else "reinforcement"
    checked = check(path.read_bytes(), recipe=RECIPES[kind], file_name=path.name)
    assert checked.errors == []
    report = checked.result.report
    assert report.format == kind
    assert report.statistics.train_rows + report.statistics.eval_rows == len(path.read_bytes().splitlines())


def test_the_public_training_and_validation_files_do_not_overlap(check) -> None:
    for kind in ("Text-GSM8K_chat_{}", "Tool-Calling_stock_toolcall_{}"):
        names = {"train": FILES, "validation": FILES}
        train, held_out = (next(path for path in names[part] if kind.format(part) in path.name) for part in names)
        assert check(train.read_bytes(), held_out.read_bytes(), SMALL).errors == []
