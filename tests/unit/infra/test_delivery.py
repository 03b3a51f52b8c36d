"""What azd uploads, and what its hooks register, held to the code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from functions.http import auth
from tests.azd_package import ignored, packed
from tests.paths import ROOT

HOOKS = sorted((ROOT / "infra" / "hooks").glob("*.sh"))
GOES_UP = {"function_app.py", "functions", "shared", "host.json", "requirements.txt"}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_only_the_function_app_goes_up(tmp_path: Path) -> None:
    files = tracked()
    for path in [*files, ".python_packages/lib/site-packages/one.py", "shared/domain/__pycache__/run.cpython-311.pyc"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(ROOT / "LICENSE")
    (tmp_path / ".funcignore").unlink()
    shutil.copy(ROOT / ".funcignore", tmp_path)
    of_app = {path for path in files if path.split("/")[0] in GOES_UP}
    assert "functions/http/static/index.html" in of_app
    assert {str(path) for path in packed(tmp_path)} == {*of_app, ".python_packages/lib/site-packages/one.py"}


@pytest.mark.parametrize("name", ["docs/", "tests/", "cli/", "infra/", "__pycache__/", "pkg/README.md", "LICENSE"])
def test_a_package_is_packed_whole_whatever_its_files_are_called(name: str) -> None:
    patterns = [one for one in (ROOT / ".funcignore").read_text().split("\n") if one and not one.startswith("#")]
    path = f".python_packages/lib/site-packages/{name}"
    assert not ignored(path.removesuffix("/"), path.endswith("/"), patterns)


def test_azd_deploys_the_repository_as_a_python_function_app_that_is_built_here() -> None:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    [service] = azure["services"].values()
    hooks = {**azure["hooks"], **service.pop("hooks")}
    assert service == {"host": "function", "language": "python", "project": ".", "remoteBuild": False}
    # The first that knows `remoteBuild` of a function (its changelog): an older one builds in Azure and says nothing.
    assert azure["requiredVersions"] == {"azd": ">= 1.23.5"}
    assert azure["hooks"].keys() == {"preprovision", "postprovision", "predown", "postdown"}
    assert hooks.keys() - azure["hooks"].keys() == {"prepackage"}
    assert all((ROOT / hook["posix"]["run"]).is_file() for hook in hooks.values())
    # Without one, azd on Windows ends with a message that names no cause (azure-dev, pkg/ext/hooks_manager.go).
    assert all((ROOT / hook["windows"]["run"]).name == "windows.ps1" for hook in hooks.values())
    assert "exit 1" in (ROOT / "infra" / "hooks" / "windows.ps1").read_text()


def test_packing_stops_without_what_installs_packages(tmp_path: Path) -> None:
    hook = shutil.copytree(ROOT / "infra" / "hooks", tmp_path / "infra" / "hooks") / "prepackage.sh"
    shutil.copytree(ROOT / "infra" / "modules", tmp_path / "infra" / "modules")
    done = subprocess.run([hook], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "uv is missing, which installs packages of another system than this one: make setup\n"


def test_the_registered_app_roles_are_those_the_api_asks_for() -> None:
    roles = json.loads((ROOT / "infra" / "hooks" / "app-roles.json").read_text())
    assert {role["value"] for role in roles} == {auth.READER, auth.OPERATOR, auth.APPROVER, auth.ADMINISTRATOR}
    assert len({role["id"] for role in roles}) == len(roles)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda path: path.name)
def test_a_hook_is_a_clean_posix_script(hook: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--shell=sh", "--external-sources", hook], capture_output=True, text=True, cwd=hook.parent
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", ["training_job/Dockerfile", "infra/environments/serving/Dockerfile"])
def test_the_user_of_an_image_may_read_what_is_copied_whatever_its_modes_here(file: str) -> None:
    """A build packs the modes of the checkout: under a umask of 077 nobody but root could read it."""
    lines = (ROOT / file).read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("COPY"))
    user = next(number for number, line in enumerate(lines) if line.startswith("USER"))
    assert lines[user] == "USER 10001"
    *_, target = lines[last].split()
    given = [
        line for line in lines[last:user] if line.startswith(("RUN chmod -R a+rX /app ", f"RUN chmod 755 {target} "))
    ]
    assert len(given) == 1
