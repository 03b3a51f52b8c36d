"""A demo that does not succeed ends with a code other than 0 and leaves no server running.

These are the tests of `local_stack.demo.__main__`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from local_stack.processes import marked
from tests.paths import ROOT
from tests.stack.local import until
from tests.stack.scenarios import FAILS_GATE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

MANUFACTURING = ROOT / "recipes" / "manufacturing"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "demo"
    yield folder
    left = marked(folder)
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A copy of a recipe with few rows, to be spoiled."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    recipe = (MANUFACTURING / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("min_rows: 50", "min_rows: 16"))
    for name, rows in (("train.jsonl", 64), ("eval.jsonl", 16)):
        lines = (MANUFACTURING / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:rows]))
    return folder


def demo(root: Path, recipe: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "local_stack.demo", "--recipe", str(recipe), "--root", str(root), "--port", "0"]
    return subprocess.Popen(
        [*command, *options], cwd=ROOT, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE
    )


def failure(process: subprocess.Popen[str]) -> str:
    """The last line of a demo that failed."""
    output, _ = process.communicate()
    assert process.returncode == 1, output
    return output.splitlines()[-1]


@pytest.mark.ci
def test_a_part_that_does_not_start(root: Path, recipe: Path) -> None:
    output, _ = (process := demo(root, recipe, JOB_POLL_S="often")).communicate()
    assert process.returncode == 1
    assert "the demo failed: host ended with code 1" in output


def test_rejected_data(root: Path, recipe: Path) -> None:
    (recipe / "train.jsonl").write_text("not json\n")
    assert failure(demo(root, recipe)) == "the demo failed: the run ended as rejected, not deployed"


@pytest.mark.slow
def test_a_model_that_its_gate_declines(root: Path, recipe: Path) -> None:
    settings = yaml.safe_load((recipe / "recipe.yaml").read_text())
    (recipe / "recipe.yaml").write_text(yaml.safe_dump({**settings, **FAILS_GATE}))
    assert failure(demo(root, recipe)) == "the demo failed: the run ended as declined, not deployed"
    assert json.loads((root / "report.json").read_text())["passed"] is False


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_stack_starts(root: Path, recipe: Path, number: signal.Signals) -> None:
    process = demo(root, recipe)
    until(lambda: marked(root), "a part runs", within_s=60)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 128 + number
    assert not marked(root)
