"""Each ready recipe through the demo: dropped, tuned, evaluated, deployed, answering; each further drop is better."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.demo.prepare import drops
from local_stack.processes import marked
from tests.paths import ROOT
from tests.unit.recipes.ready import RECIPES

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1500)]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, text=True, capture_output=True)


@pytest.mark.parametrize("name", ["healthcare-small", "manufacturing-repair-small", "finance-small"])
def test_every_drop_of_a_recipe_ends_deployed_and_better_beyond_its_interval(name: str, tmp_path: Path) -> None:
    root = tmp_path / "demo"
    ended = run("local_stack.demo", "--recipe", name, "--root", str(root), "--port", "0")
    report = json.loads((root / "report.json").read_text()) if (root / "report.json").exists() else {}
    run("local_stack.stack", "down", "--root", str(root))
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr
    assert marked(root) == []
    shutil.rmtree(root)
    runs = [*report["earlier"], report]
    assert [each["status"] for each in runs] == ["deployed"] * len(drops(RECIPES / name))
    assert all(gain["low"] > 0 for each in runs for gain in each["gains"])
    assert [len(each["gains"]) for each in runs] == [1] + [2] * len(report["earlier"])
    assert runs[-1]["scores"]["tuned"]["mean"] >= 0.9
    assert report["endpoint"]["answer"] == report["endpoint"]["reference"]
