"""The dataset and the recipe of the tutorial give the run that it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "tutorial" / "your-first-model.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_data_of_the_tutorial_is_read_as_the_tutorial_shows(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", block("python")], cwd=tmp_path, check=True)
    (tmp_path / "recipe.yaml").write_text(block("yaml"), encoding="utf-8")
    file, recipe = str(tmp_path / "train.csv"), str(tmp_path / "recipe.yaml")
    first = CliRunner().invoke(app, ["validate", file])
    second = CliRunner().invoke(app, ["validate", file, "--recipe", recipe])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "216 training rows, 24 held out" in first.stdout
    assert "3 epochs, 78 steps of 8 rows" in first.stdout
    assert "15 epochs, 390 steps of 8 rows" in second.stdout
    assert re.findall(r"of training: (\d+) steps", PAGE) == ["78", "390"]


def test_the_held_out_rows_are_those_that_the_tutorial_shows(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", block("python")], cwd=tmp_path, check=True)
    with spooled_sink() as sink:
        validate(
            [(tmp_path / "train.csv").read_bytes()],
            None,
            block("yaml").encode(),
            project="machine-faults",
            file_name="train.csv",
            default_base_model="droptune/tiny-llama",
            sink=sink,
        )
        sink.eval.seek(0)
        rows = [json.loads(line) for line in sink.eval]
    questions = [row["messages"][0]["content"] for row in rows]
    shown = re.findall(r"^row (\d+) +(What does .+ mean\?)$", PAGE, re.MULTILINE)
    assert len(shown) == 3
    assert shown == [(number, questions[int(number) - 1]) for number, _ in shown]
    slices = re.findall(r"^machine = (\w+) +(\d+) ", PAGE, re.MULTILINE)
    machines = Counter(row["item"]["machine"] for row in rows)
    assert slices == [(machine, str(count)) for machine, count in sorted(machines.items())]
