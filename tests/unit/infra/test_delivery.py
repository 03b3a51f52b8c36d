"""What azd uploads, and what its hooks register, held to the code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pathspec import GitIgnoreSpec

from functions.http import auth
from tests.paths import ROOT

HOOKS = sorted((ROOT / "infra" / "hooks").glob("*.sh"))
GOES_UP = {"function_app.py", "functions", "shared", "host.json", "requirements.txt"}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_only_the_function_app_goes_up() -> None:
    ignored = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    files = [path for path in tracked() if not ignored.match_file(path)]
    assert {path.split("/")[0] for path in files} == GOES_UP
    assert "functions/http/static/index.html" in files


def test_everything_of_the_function_app_goes_up() -> None:
    ignored = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    left_out = [path for path in tracked() if path.split("/")[0] in GOES_UP and ignored.match_file(path)]
    assert left_out == []


def test_azd_deploys_the_repository_as_a_python_function_app() -> None:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert azure["services"] == {"api": {"host": "function", "language": "python", "project": "."}}
    assert azure["hooks"].keys() == {"preprovision", "postprovision", "predown", "postdown"}
    assert all((ROOT / hook["posix"]["run"]).is_file() for hook in azure["hooks"].values())
    # Without one, azd on Windows ends with a message that names no cause (azure-dev, pkg/ext/hooks_manager.go).
    assert all((ROOT / hook["windows"]["run"]).name == "windows.ps1" for hook in azure["hooks"].values())
    assert "exit 1" in (ROOT / "infra" / "hooks" / "windows.ps1").read_text()


def test_the_registered_app_roles_are_those_the_api_asks_for() -> None:
    roles = json.loads((ROOT / "infra" / "hooks" / "app-roles.json").read_text())
    assert {role["value"] for role in roles} == {auth.READER, auth.OPERATOR, auth.APPROVER}
    assert len({role["id"] for role in roles}) == len(roles)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda path: path.name)
def test_a_hook_is_a_clean_posix_script(hook: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--shell=sh", "--external-sources", hook], capture_output=True, text=True, cwd=hook.parent
    )
    assert (done.returncode, done.stdout) == (0, "")
