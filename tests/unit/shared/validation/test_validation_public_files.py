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


# Of the forms that people publish: an answer without errors, or the errors beside personal data and secrets in them.
OTHERS = ROOT.parent / "shared/data/public2"
EXPECTED: dict[str, tuple[str, list[str]]] = {
    "axolotl_alpaca.json": ("alpaca", ["too_few_rows"]),
    "axolotl_conversation.json": ("sharegpt", ["too_few_rows"]),
    "fastchat_dummy.json": ("sharegpt", []),
    "gsm8k_test.jsonl": ("prompt_completion", []),
    "lf_alpaca_en_demo.json": ("alpaca", []),
    "lf_alpaca_zh_demo.json": ("alpaca", []),
    "lf_dpo_en_demo.json": ("preference", []),
    "lf_glaive_toolcall_en_demo.json": ("sharegpt", ["tool_arguments_violate_schema"]),
    "lf_identity.json": ("alpaca", []),
    "lf_kto_en_demo.json": ("chat", ["unpaired_preference"]),
    "lf_mllm_demo.json": ("chat", ["media_not_read", "too_few_rows"]),
}


@pytest.mark.few_cases(3)
@pytest.mark.skipif(not OTHERS.is_dir(), reason="the public files are not beside the repository")
@pytest.mark.parametrize("path", [pytest.param(OTHERS / name, id=name) for name in EXPECTED])
def test_public_arrays_are_read_as_what_they_are(check, path) -> None:
    recipe = b"method: {type: dpo}\n" if "dpo" in path.name else b""
    checked = check(
        path.read_bytes(), recipe=recipe + b"data: {personal_data: allow, secrets: allow}", file_name=path.name
    )
    assert (checked.result.report.format, checked.errors) == EXPECTED[path.name]
