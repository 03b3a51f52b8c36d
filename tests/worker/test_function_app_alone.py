"""requirements.txt alone is what Azure installs for the function app: enough for it, and light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.worker.installed import installed

HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "mlflow")
USE = """
import importlib.metadata, json, sys
from pathlib import Path

import function_app
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate

folder = Path("recipes/manufacturing")
with spooled_sink() as sink:
    validated = validate(
        [(folder / "train.jsonl").read_bytes()],
        [(folder / "eval.jsonl").read_bytes()],
        (folder / "recipe.yaml").read_bytes(),
        project="plant",
        file_name="train.jsonl",
        default_base_model="droptune/tiny-llama",
        sink=sink,
    )
print(json.dumps({
    "passed": validated.report.passed,
    "train_rows": validated.report.statistics.train_rows,
    "functions": len(function_app.app.get_functions()),
    "loaded": sorted(sys.modules),
    "installed": sorted(one.name for one in importlib.metadata.distributions()),
}))
"""


@pytest.fixture(scope="module")
def alone() -> Path:
    return installed(Path(sys.executable))


def test_the_app_imports_and_validates_with_its_own_requirements_only(alone: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    used = subprocess.run([alone, "-c", USE], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert used.returncode == 0, used.stderr
    found = json.loads(used.stdout)
    lines = (ROOT / "recipes" / "manufacturing" / "train.jsonl").read_bytes().splitlines()
    assert (found["passed"], found["train_rows"]) == (True, len(lines))
    assert found["functions"] == 23
    assert not set(HEAVY) & set(found["installed"])
    assert not set(HEAVY) & set(found["loaded"])
    print(f"the function app's packages: {megabytes(alone):.0f} MB")


def megabytes(python: Path) -> float:
    """Installed size of an environment."""
    folder = python.parents[1]
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6
