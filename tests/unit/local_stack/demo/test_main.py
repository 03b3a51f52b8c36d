from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local_stack import emulators
from local_stack.demo.__main__ import main


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "thesis.txt"
    precious.touch()
    assert main(["--root", str(tmp_path)]) == 1
    assert "left alone" in capsys.readouterr().out
    assert precious.exists()


def test_without_npm_the_demo_on_emulators_says_so_in_one_line_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(emulators.FOLDER / name, packages)
    monkeypatch.setattr(emulators, "FOLDER", packages)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    assert main(["--emulators", "--root", str(tmp_path / "demo")]) == 1
    installing, reason = capsys.readouterr().out.splitlines()
    assert installing == "installing the emulators of Cosmos DB and Blob Storage from npm, once"
    assert reason.startswith("the demo cannot run on emulators: npm could not install the emulators: ")
    assert "127.0.0.1:9" in reason
    assert not (tmp_path / "demo").exists()
