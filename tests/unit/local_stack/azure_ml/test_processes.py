"""The processes of jobs and servers."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack.azure_ml import processes
from local_stack.azure_ml.config import ENVIRONMENTS, TMP
from local_stack.azure_ml.processes import LAUNCH_WITHIN_S, starting
from local_stack.processes import MARK
from shared.domain.jobs import JobStatus
from tests.unit.local_stack.azure_ml.deployed import created, endpoint_with
from tests.unit.local_stack.azure_ml.support import Local, job

# Of a developer's shell: what a laptop has and a machine of Azure ML does not.
SHELL = ("HF_TOKEN", "HF_HOME", "LANG", "XDG_CACHE_HOME", "TMPDIR", "OMP_NUM_THREADS", "USER", "HTTPS_PROXY", "AZURE_X")
OF_BASH = {"PWD", "SHLVL", "_", "OLDPWD"}
OF_AZURE_ML = {
    *("AZUREML_RUN_ID", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"),
    *("MSI_ENDPOINT", "MSI_SECRET"),
    *("AZURE_ML_INPUT_data", "AZURE_ML_INPUT_recipe", "AZURE_ML_OUTPUT_model"),
}
OWN = {MARK, "DROPTUNE_EMULATOR_CLAIM"}


@pytest.fixture
def foreign_user() -> None:
    if not processes._foreign_user():
        pytest.skip("no user namespaces on this machine")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHELL:
        monkeypatch.setenv(name, "/of/the/shell")
    monkeypatch.setenv(MARK, "/of/the/stack")


@pytest.mark.parametrize("ago_s", [-200 * 24 * 3600, -LAUNCH_WITHIN_S - 60, LAUNCH_WITHIN_S + 60])
def test_a_leader_that_does_not_come_is_not_waited_for_although_the_clock_was_set_back(
    tmp_path: Path, ago_s: float
) -> None:
    assert starting(tmp_path, time.time())
    assert not starting(tmp_path, time.time() - ago_s)


def test_a_job_has_the_variables_of_its_image_and_of_azure_ml_and_no_others(local: Local, shell: None) -> None:
    local.client.submit(job("minimal", "env > ${{outputs.model}}/env"))
    local.finish("minimal")
    lines = (local.blobs / "runs/minimal/model/env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    image = ENVIRONMENTS["droptune-training:6"].variables
    assert found.keys() - OF_BASH == image.keys() | OF_AZURE_ML | OWN | {"PATH", "HOME"}
    assert "/of/the/shell" not in found.values()
    assert found[MARK] == "/of/the/stack"
    folder = local.emulator.config.root / "jobs" / "minimal"
    interpreter, *system = found["PATH"].split(":")
    assert (found["HOME"], found["HF_HOME"]) == (f"{folder}/home", f"{folder}/tmp/cache/huggingface")
    assert (interpreter.rsplit("/", 2)[1], system) == ("interpreters", processes._PATH.split(":"))


def test_a_server_has_the_variables_of_its_image_and_deployment_and_no_others(local: Local, shell: None) -> None:
    name = endpoint_with(local, "minimal")
    created(local, name, "blue", environment_variables={"OF_THE_DEPLOYMENT": "1"})
    (claim,) = local.emulator.config.root.glob(f"deployments/{name}/*/attempts/1")
    servers = [psutil.Process(pid) for pid in processes.members(claim) if pid != processes.leader(claim)]
    [environment] = [one.environ() for one in servers]
    assert environment.keys() - OF_BASH == OWN | {"PATH", "HOME", "AZUREML_MODEL_DIR", "OF_THE_DEPLOYMENT"}
    assert servers[0].cwd() == str(claim.parents[1] / "wd")


@pytest.mark.usefixtures("foreign_user")
def test_a_job_is_user_9000_and_has_no_home_and_leaves_files_of_the_emulator_s_user(local: Local) -> None:
    tries = "ls -a $HOME/.cache; touch $HOME/x; mkdir -p $HOME/.cache/y; chown 0 ${{outputs.model}}"
    local.client.submit(job("foreign", f"id -u > ${{{{outputs.model}}}}/id; {tries}"))
    assert local.finish("foreign").status is JobStatus.FAILED
    written = local.blobs / "runs/foreign/model/id"
    assert (written.read_text(), written.stat().st_uid) == ("9000\n", os.geteuid())
    log = (local.emulator.config.root / "jobs/foreign/user_logs/std_log.txt").read_text().splitlines()
    assert [line.rsplit(": ", 1)[1] for line in log] == ["Permission denied"] * 3 + ["Invalid argument"]


@pytest.fixture
def cannot_map_users(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "_FOREIGN", ("sh", "-c", "echo it may not >&2; exit 1"))
    processes._foreign_user.cache_clear()
    yield
    processes._foreign_user.cache_clear()


@pytest.mark.usefixtures("cannot_map_users")
def test_where_a_machine_cannot_map_users_the_emulator_says_so_once_and_runs_its_jobs(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, processes.__name__):
        for name in ("own-user", "own-user-again"):
            local.client.submit(job(name, "id -u > ${{outputs.model}}/id"))
            assert local.finish(name).status is JobStatus.COMPLETED
    assert (local.blobs / "runs/own-user/model/id").read_text() == f"{os.geteuid()}\n"
    [record] = [one for one in caplog.records if one.name == processes.__name__]
    assert record.getMessage().startswith("commands run as this user")
    assert record.getMessage().endswith("they cannot: it may not")


def test_only_an_image_s_folder_for_scratch_files_is_the_container_s(tmp_path: Path) -> None:
    found = processes.container(tmp_path, {"CACHE": f"{TMP}/cache", "PYTHONPATH": "/tmp/a-checkout"})
    assert (found["CACHE"], found["PYTHONPATH"]) == (f"{tmp_path}/tmp/cache", "/tmp/a-checkout")


def test_the_home_that_nobody_can_use_is_deleted_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    home = processes.container(folder, {})["HOME"]
    assert Path(home).stat().st_mode & 0o777 == 0o400
    # As an ordinary user, where this one is root: its rights would pass for the modes.
    deleted = subprocess.run([*processes._foreign_user(), "rm", "-r", folder], capture_output=True, text=True)
    assert (deleted.returncode, deleted.stderr) == (0, "")
