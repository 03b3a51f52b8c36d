"""What the tests of the worker run in, each built once for its inputs, or a skipped test that says why."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.azure_worker.environments import NotBuilt, environment
from tests.azd_package import packed
from tests.paths import ROOT

PACKAGES = Path(".python_packages", "lib", "site-packages")
_HOOK = Path("infra", "hooks", "prepackage.sh")
_INPUTS = (_HOOK, Path("requirements.txt"), Path("infra", "modules", "app.bicep"))


def installed(python: Path, *packages: str) -> Path:
    """An environment of the function app's lock file or of other packages."""
    try:
        return environment(python, *packages)
    except NotBuilt as error:
        pytest.skip(str(error))


def unpacked(python: Path, folder: Path) -> Path:
    """The app as it lies in Azure: what azd packs of this repository after its hook, and nothing else."""
    built, tree, app = _built(python), folder / "tree", folder / "app"
    for name in ("function_app.py", "functions", "shared", "host.json", "requirements.txt", ".funcignore"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, _parent(tree / name))
    (tree / PACKAGES.parts[0]).symlink_to(built / PACKAGES.parts[0])  # azd resolves links
    for path in packed(tree):
        source, to = (tree / path).resolve(), _parent(app / path)
        try:
            os.link(source, to)
        except OSError:  # another file system
            shutil.copy2(source, to)
    return app


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _built(python: Path) -> Path:
    """A folder where the hook has run."""
    inputs = b"\0".join([str(python).encode(), *((ROOT / one).read_bytes() for one in _INPUTS)])
    folder = ROOT / ".venvs" / f"package-{hashlib.sha256(inputs).hexdigest()[:16]}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for one in _INPUTS:
                shutil.copy(ROOT / one, _parent(folder / one))
            # uv, and the Python that compiles; no other interpreter is downloaded.
            path = f"{Path(sys.executable).parent}:{python.parent}:{os.environ['PATH']}"
            environ = {**os.environ, "PATH": path, "UV_PYTHON_DOWNLOADS": "never"}
            ran = subprocess.run([folder / _HOOK], env=environ, capture_output=True, text=True)
            if "error sending request" in ran.stderr:
                pytest.skip("the package index cannot be reached")
            assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
            (folder / ".complete").touch()
    return folder
