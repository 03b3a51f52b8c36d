from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.ports import Services
from tests.fresh_process import fresh_process
from tests.paths import ROOT
from tests.unit.infra.recorded_azure import SUBSCRIPTION, TENANT, Answers, Azure, Cli

AZURE_CLI = ROOT / ".venv-azure-cli" / "bin" / "python"
# The extension `ml` is on no package index, so a program stands in its place that notes calls. What a file is named
# after is there. The CLI itself says that it has no such extension.
AZ = """#!{python} -SE
import json, os, pathlib, socket, sys
if sys.argv[1] == "ml":
    place, words = pathlib.Path(os.environ["PLACE"]), sys.argv[1:]
    with open(place / "ml", "a") as file:
        print(json.dumps(words), file=file)
    version = words[words.index("--version") + 1] if "--version" in words else ""
    sys.exit(words[2] == "show" and not (place / f"{{words[words.index('--name') + 1]}}:{{version}}").exists())
if sys.argv[1:3] == ["extension", "show"] and not (pathlib.Path(os.environ["PLACE"]) / "no-ml").exists():
    sys.exit(0)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    server.sendall(json.dumps([sys.argv[1:], os.getcwd()]).encode() + b"\\n")
    code, out, errors = json.load(server.makefile())
sys.stdout.write(out)
sys.stderr.write(errors)
sys.exit(code)
"""
PROGRAMS = {"azd": '#!/bin/sh\necho "$@" >> "$PLACE/azd"\n', "sleep": '#!/bin/sh\necho "$@" >> "$PLACE/sleep"\n'}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """For what the app logs."""
    with fresh_process(tmp_path, monkeypatch) as found:
        yield found


@dataclass
class Server:
    socket: Path
    profile: Path
    answers: Answers


@pytest.fixture(scope="session")
def azure_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real CLI, loaded once. What it knows between commands is in a folder of its own."""
    if not AZURE_CLI.exists():
        pytest.skip("the Azure CLI is not installed; `make check` does that")
    place = tmp_path_factory.mktemp("azure-cli")
    settings = {
        "AZURE_CONFIG_DIR": str(place),
        "AZURE_CORE_COLLECT_TELEMETRY": "0",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "1",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
    }
    answers = Answers()
    arguments = [str(AZURE_CLI), "-m", "tests.azure_cli.server", str(place / "socket"), answers.url]
    server = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield Server(place / "socket", place / "azureProfile.json", answers)
    finally:
        server.kill()
        server.communicate()
        answers.shutdown()
        answers.server_close()


@pytest.fixture
def cli(azure_cli: Server, tmp_path: Path) -> Cli:
    """A subscription of its own for each test, signed in to as the CLI's default."""
    azure_cli.answers.azure = Azure()
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {"az": AZ.format(python=sys.executable, socket=str(azure_cli.socket)), **PROGRAMS}
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    found = Cli(azure_cli.answers.azure, tmp_path, azure_cli.profile)
    found.sign_in((SUBSCRIPTION, TENANT))
    return found
