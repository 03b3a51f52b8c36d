"""The npm packages of the emulators."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local_stack import emulators


@pytest.mark.ci
def test_packages_that_npm_cannot_reach_are_not_installed_and_the_reason_is_npms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(emulators.FOLDER / name, packages)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(emulators.NotInstalled, match=r"npm could not install the emulators: .*127\.0\.0\.1:9"):
        emulators.install(packages)
    assert not emulators.installed(packages)
