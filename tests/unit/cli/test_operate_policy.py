"""policy show and apply: what is sent, what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.operate import policy_app


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("projects: [", "is no YAML"),
        ("approvers: 2026-99-01", "is no YAML: month must be in 1..12"),
        ("approvers: none", "approvers: it has to be a whole number (policy_value). Correct it"),
        ("limits: {deployment.aproval: {one_of: [required]}}", "a recipe has no setting deployment.aproval"),
        ("limits: {budget.max_usd: {at_least: 10, at_most: 5}}", "nothing is at least 10 and at most 5"),
        ("nonsense: 1", "nonsense: there is no such key (policy_unknown_key). Remove it"),
        ("- a", "is no policy"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_before_anything_is_sent(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    result = CliRunner().invoke(policy_app, ["apply", str(file), "--replacing", "0", "--url", "http://127.0.0.1:1"])
    assert message in str(result.exception)
