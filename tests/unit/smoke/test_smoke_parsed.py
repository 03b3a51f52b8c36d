"""The real Azure CLI takes every `az` line of the smoke test but those of `az ml`, an extension of no package index."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.smoke.commands import TABLE

PYTHON = Path(os.environ.get("AZURE_CLI_PYTHON", ROOT / ".venv-azure-cli" / "bin" / "python"))
LISTS = [*(step.get("command", []) for step in TABLE["step"]), TABLE["known"], TABLE["failed"]]
LINES = [one[key] for commands in LISTS for one in commands for key in ("run", "each") if key in one]
AZ = [[re.sub(r"\{\w+\}", "x", word) for word in line[1:]] for line in LINES if line[0] == "az" and line[1] != "ml"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="the Azure CLI is not installed: uv venv .venv-azure-cli; "
                       "uv pip install --python .venv-azure-cli azure-cli==2.91.0"),
]  # fmt: skip


def refused(lines: list[list[str]]) -> list[tuple[str, str]]:
    script = Path(__file__).with_name("parse_az.py")
    done = subprocess.run([PYTHON, script], input=json.dumps(lines), text=True, capture_output=True, check=True)
    _, answers = json.loads(done.stdout)
    return [(" ".join(line), words) for line, words in zip(lines, answers, strict=True) if words]


def test_every_line_is_parsed() -> None:
    assert len(AZ) == 33
    assert refused(AZ) == []


def test_a_wrong_option_and_a_wrong_query_are_refused() -> None:
    wrong = [["group", "exists", "--name", "x", "--force"], ["group", "list", "--query", "[?name=="]]
    assert len(refused(wrong)) == 2
