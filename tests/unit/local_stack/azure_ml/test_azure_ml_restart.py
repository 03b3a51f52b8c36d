"""The emulator is killed; nothing is lost and nothing runs twice: `local_stack.azure_ml.processes`."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from shared.domain.jobs import DeploymentState, JobStatus, ModelSpec
from tests.unit.local_stack.azure_ml.deployed import HELLO
from tests.unit.local_stack.azure_ml.restarted import group_of
from tests.unit.local_stack.azure_ml.support import Process, deployment, eventually, finished, is_running, job, started


def test_a_running_job_outlives_the_emulator_and_is_taken_over_by_the_next_one(process: Process) -> None:
    script = "echo run >> ${{outputs.model}}/runs; while [ ! -e ${{outputs.model}}/go ]; do sleep 0.05; done; exit 7"
    process.client.submit(job("outlives", script))
    started(process.client, "outlives")
    group = group_of(process, "outlives")
    process.kill()
    assert is_running(group)
    process.start()
    assert process.client.get_job("outlives").status is JobStatus.RUNNING  # type: ignore[union-attr]
    (process.root / "blobs/runs/outlives/model/go").touch()
    view = finished(process.client, "outlives")
    assert (view.status, view.error_message) == (
        JobStatus.FAILED,
        "Execution failed. User process exited with status code 7.",
    )
    assert (process.root / "blobs/runs/outlives/model/runs").read_text() == "run\n"


@pytest.mark.ci
def test_a_job_that_ended_while_the_emulator_was_down_keeps_its_exit_code(process: Process) -> None:
    process.client.submit(job("ends-alone", "while [ ! -e ${{outputs.model}}/go ]; do sleep 0.05; done"))
    started(process.client, "ends-alone")
    process.kill()
    (process.root / "blobs/runs/ends-alone/model/go").touch()
    code = process.root / "azure_ml/jobs/ends-alone/attempts/1/exit"
    eventually(code.exists)
    process.start()
    assert finished(process.client, "ends-alone").status is JobStatus.COMPLETED


@pytest.mark.ci
def test_a_job_killed_with_its_machine_is_queued_again_as_the_same_job(process: Process) -> None:
    script = "echo run >> ${{outputs.model}}/runs; if [ $(wc -l < ${{outputs.model}}/runs) = 1 ]; then sleep 60; fi"
    process.client.submit(job("preempted", script))
    started(process.client, "preempted")
    eventually((process.root / "blobs/runs/preempted/model/runs").exists)
    group = group_of(process, "preempted")
    process.kill()
    os.killpg(group, signal.SIGKILL)
    process.start()
    assert finished(process.client, "preempted").status is JobStatus.COMPLETED
    jobs = process.jobs()
    assert [item["name"] for item in jobs] == ["preempted"]
    assert jobs[0]["attempt"] == 2
    assert (process.root / "blobs/runs/preempted/model/runs").read_text() == "run\nrun\n"


@pytest.mark.ci
def test_a_deployment_outlives_the_emulator_and_is_started_again_if_it_died(process: Process) -> None:
    client = process.client
    client.register_model(ModelSpec(name="m", version="1", uri="azureml://datastores/models/paths/champion/"))
    client.begin_endpoint("restarts", {})
    eventually(lambda: client.begin_endpoint("restarts", {}))
    client.begin_deployment(deployment("restarts", "blue", "m:1"))
    eventually(lambda: client.get_deployment("restarts", "blue").state is DeploymentState.SUCCEEDED)  # type: ignore[union-attr]
    folder = next((process.root / "azure_ml/deployments/restarts").iterdir())
    first = int((folder / "attempts/1/pid").read_text())
    process.kill()
    assert is_running(first)
    process.start()
    assert client.chat("restarts", HELLO, deployment="blue").text == "champion: hello"
    os.killpg(first, signal.SIGKILL)
    second = eventually(lambda: (folder / "attempts/2/pid").exists() and (folder / "attempts/2/pid").read_text())
    assert int(str(second)) != first
    eventually(lambda: _answers(process))


def _answers(process: Process) -> bool:
    headers = {"Authorization": f"Bearer {process.secret}", "azureml-model-deployment": "blue"}
    url = f"http://127.0.0.1:{process.port}/endpoints/restarts/health"
    return httpx.get(url, headers=headers, verify=False).status_code == 200
