"""What the images give to a job and to a server, and what fails under an image that lacks some of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.azure_ml.config import ENVIRONMENTS, SERVING, TMP, TRAINING, Environment, variables_of
from shared.domain.jobs import JobStatus, JobView
from tests.paths import ROOT
from tests.unit.local_stack.azure_ml.support import Local, job

# Where the libraries of a job keep what they download, compile or unpack, by what each of them says itself.
CACHES = """
import os
from huggingface_hub import constants
from torch._inductor.runtime.cache_dir_utils import cache_dir, triton_cache_dir
from torch._appdirs import user_cache_dir

for folder in (constants.HF_HUB_CACHE, cache_dir(), triton_cache_dir(0), user_cache_dir("torch_extensions")):
    os.makedirs(folder, exist_ok=True)
    open(folder + "/written", "w").close()
    print(folder)
"""


def run_in(local: Local, dockerfile: Path, name: str, command: str) -> tuple[JobView, str]:
    """A job in an image of that Dockerfile, at its end, and its log."""
    local.emulator.config.environments[f"{name}:1"] = Environment(variables=variables_of(dockerfile))
    local.client.submit(job(name, command, environment=f"{name}:1"))
    return local.finish(name), (local.emulator.config.root / f"jobs/{name}/user_logs/std_log.txt").read_text()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("line", "command", "error"),
    [
        (
            "ENV PYTHONPATH=/app",
            "python -m training_job.import_base --help",
            "ModuleNotFoundError: No module named 'training_job'",
        ),
        ("ENV HOME=/tmp", f"python -c '{CACHES}'", "PermissionError: [Errno 13] Permission denied:"),
    ],
    ids=["no-path-to-our-code", "caches-in-home"],
)
def test_what_fails_in_azure_under_an_older_image_fails_here(
    local: Local, tmp_path: Path, request: pytest.FixtureRequest, line: str, command: str, error: str
) -> None:
    broken = tmp_path / "Dockerfile"
    kept = TRAINING.read_text().replace("\\\n", " ").splitlines()
    assert len([one for one in kept if one.startswith(line)]) == 1
    broken.write_text("\n".join(one for one in kept if not one.startswith(line)))
    name = request.node.callspec.id
    view, log = run_in(local, broken, name, command)
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message == "Execution failed. User process exited with status code 1."
    assert error in log
    view, log = run_in(local, TRAINING, f"{name}-now", command)
    assert view.status is JobStatus.COMPLETED, log


@pytest.mark.ci
@pytest.mark.parametrize("dockerfile", [TRAINING, SERVING], ids=["trainer", "server"])
def test_the_caches_of_both_images_lie_in_the_container(local: Local, dockerfile: Path) -> None:
    name = f"caches-{dockerfile.parent.name}".replace("_", "-")
    view, log = run_in(local, dockerfile, name, f"python -c '{CACHES}'")
    assert view.status is JobStatus.COMPLETED, log
    scratch = str(local.emulator.config.root / f"jobs/{name}/tmp/cache")
    assert [line for line in log.splitlines() if not line.startswith(scratch)] == []


def test_a_job_finds_our_code_because_the_training_image_says_where_it_is(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    local.client.submit(job("path", "echo $PYTHONPATH > ${{outputs.model}}/path"))
    local.finish("path")
    assert (local.blobs / "runs/path/model/path").read_text().strip() == str(ROOT)


def test_without_the_image_s_word_a_job_has_no_path_to_our_code(tmp_path: Path) -> None:
    silent = tmp_path / "Dockerfile"
    silent.write_text("WORKDIR /app\nENV A=1 B=/app/b C=/tmp/c \\\n  PATH=/opt/venv/bin:$PATH\n")
    assert variables_of(silent) == {"A": "1", "B": f"{ROOT}/b", "C": f"{TMP}/c"}


def test_the_images_of_the_emulator_are_those_of_the_dockerfiles() -> None:
    for environment, dockerfile in zip(ENVIRONMENTS.values(), (TRAINING, SERVING), strict=True):
        assert variables_of(dockerfile).items() <= environment.variables.items()
