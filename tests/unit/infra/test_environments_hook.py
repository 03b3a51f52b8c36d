"""`azd up` leaves images and environments: the real hook, with a program in the Azure CLI's place that notes calls."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from shared.settings import Settings
from tests.paths import ROOT

HOOK = ROOT / "infra" / "hooks" / "postprovision.sh"
TRAINING, SERVING = Settings().training_environment, Settings().serving_environment
# What was created is there; creating or building is possible once.
AZ = """#!/bin/sh
echo "$@" >> "$PLACE/calls"
case "$1 $2 $3" in
    "acr repository show") test -e "$PLACE/image-$7" ;;
    "acr build "*) touch "$PLACE/image-$6" ;;
    "ml environment show") test -e "$PLACE/environment-$5:$7" ;;
    *) : ;;
esac
"""


@dataclass
class Subscription:
    """What the CLI was asked, by the first three words, and what exists."""

    place: Path

    def run(self, shape: str, **environ: str) -> subprocess.CompletedProcess[str]:
        (self.place / "calls").unlink(missing_ok=True)
        known = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "PLACE": str(self.place),
            "DROPTUNE_SHAPE": shape,
            "AZURE_CONTAINER_REGISTRY_ENDPOINT": "crabc.azurecr.io",
            "AZURE_RESOURCE_GROUP": "rg-test",
            "DROPTUNE_WORKSPACE": "mlw-abc",
        }
        return subprocess.run([HOOK], env={**known, **environ}, cwd="/", capture_output=True, text=True)

    def calls(self, words: str) -> list[list[str]]:
        lines = map(shlex.split, (self.place / "calls").read_text().splitlines())
        return [line for line in lines if line[: len(words.split())] == words.split()]


@pytest.fixture
def azure(tmp_path: Path) -> Subscription:
    program = tmp_path / "bin" / "az"
    program.parent.mkdir()
    program.write_text(AZ)
    program.chmod(0o755)
    return Subscription(tmp_path)


def test_the_first_time_both_images_are_built_and_both_environments_registered(azure: Subscription) -> None:
    done = azure.run("dev")
    assert (done.returncode, done.stderr) == (0, "")
    builds = {call[call.index("--image") + 1]: call for call in azure.calls("acr build")}
    assert builds.keys() == {TRAINING, SERVING}
    for environment, context in ((TRAINING, "."), (SERVING, "infra/environments/serving")):
        dockerfile = builds[environment][builds[environment].index("--file") + 1]
        assert builds[environment][-1] == context
        assert (ROOT / dockerfile).is_file()
    registered = azure.calls("ml environment create")
    assert [call[call.index("--image") + 1] for call in registered] == [
        f"crabc.azurecr.io/{environment}" for environment in (TRAINING, SERVING)
    ]
    assert all(call[call.index("--workspace-name") + 1] == "mlw-abc" for call in registered)


def test_what_is_there_is_left_as_it_is(azure: Subscription) -> None:
    for environment in (TRAINING, SERVING):
        (azure.place / f"image-{environment}").touch()
        (azure.place / f"environment-{environment}").touch()
    done = azure.run("dev")
    assert done.returncode == 0
    assert azure.calls("acr build") == azure.calls("ml environment create") == []
    assert done.stdout.splitlines() == [
        f"image {TRAINING} is there",
        f"environment {TRAINING} is registered",
        f"image {SERVING} is there",
        f"environment {SERVING} is registered",
    ]


def test_a_private_registry_is_not_built_in_but_the_commands_are_said(azure: Subscription) -> None:
    done = azure.run("prod")
    assert done.returncode == 0
    assert azure.calls("acr") == []
    assert len(azure.calls("ml environment create")) == 2
    assert f"docker push crabc.azurecr.io/{TRAINING}" in done.stdout
    assert "docker build --file infra/environments/serving/Dockerfile" in done.stdout


def test_a_build_that_fails_stops_azd_before_the_environment_is_registered(azure: Subscription) -> None:
    program = azure.place / "bin" / "az"
    program.write_text(AZ.replace('touch "$PLACE/image-$6"', "exit 3"))
    assert azure.run("dev").returncode == 3
    assert azure.calls("ml") == []


@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
@pytest.mark.parametrize(("name", "environment"), [("training", TRAINING), ("serving", SERVING)])
def test_the_file_and_the_image_are_a_whole_environment(azure_ml_sdk: ModuleType, name: str, environment: str) -> None:
    """The CLI's `--image` is an override of the file's field."""
    image = [{"image": f"crabc.azurecr.io/{environment}"}]
    loaded = azure_ml_sdk.load_environment(ROOT / "infra" / "environments" / f"{name}.yml", params_override=image)
    body = loaded._to_rest_object().properties
    assert (body.image, body.build, body.conda_file) == (f"crabc.azurecr.io/{environment}", None, None)
    assert (body.inference_config is not None) == (name == "serving")
