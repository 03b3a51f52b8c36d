"""The distribution declares what the installed command imports."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

# What the modules of a command import, and what brought them: our own code, never the imports of a package.
OURS = """
import builtins, sys, json
found = set()
original = builtins.__import__
def note(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if level == 0 and importer.split(".")[0] in ("cli", "shared"):
        found.add(name.split(".")[0])
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = note
import cli.main
print(json.dumps(sorted(found - sys.stdlib_module_names - {"cli", "shared"})))
"""


def declared() -> set[str]:
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]
    lines = [line for file in dynamic["dependencies"]["file"] for line in (ROOT / file).read_text().splitlines()]
    return {canonicalize_name(Requirement(line).name) for line in lines if line.strip() and not line.startswith("#")}


@pytest.mark.ci
def test_every_package_that_a_command_imports_is_declared() -> None:
    output = subprocess.run([sys.executable, "-c", OURS], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    imported = json.loads(output)
    assert {"typer", "rich", "httpx", "pydantic"} <= set(imported)
    brought_by = packages_distributions()
    missing = {
        name: brought_by.get(name)
        for name in imported
        if not {canonicalize_name(each) for each in brought_by.get(name, ())} & declared()
    }
    assert not missing
