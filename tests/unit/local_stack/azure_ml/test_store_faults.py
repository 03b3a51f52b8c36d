"""Faults that a test orders."""

from __future__ import annotations

import time

import httpx
import pytest

from shared.domain.jobs import DeploymentState, JobStatus
from tests.unit.local_stack.azure_ml.deployed import CHAMPION, created
from tests.unit.local_stack.azure_ml.support import Local, eventually, job


@pytest.mark.parametrize(
    ("kind", "code"),
    [("quota", "OutOfQuota"), ("capacity", "AllocationFailed"), ("job_failure", "UserError")],
)
def test_a_fault_can_be_ordered_for_the_next_job(local: Local, kind: str, code: str) -> None:
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": kind}, headers=local.token, verify=False)
    local.client.submit(job(f"fault-{kind}".replace("_", "-"), "true"))
    view = local.finish(f"fault-{kind}".replace("_", "-"))
    assert (view.status, view.error_code) == (JobStatus.FAILED, code)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({}, "azure_ml_quota"),
        ({"code": "OutOfCapacity", "message": "The region has no capacity."}, "azure_ml_capacity"),
        ({"code": "ResourceNotReady", "message": "User container has crashed."}, "ResourceNotReady"),
    ],
)
def test_a_deployment_can_be_accepted_and_then_get_no_machine(local: Local, fault: dict[str, str], code: str) -> None:
    local.client.register_model(CHAMPION)
    local.client.begin_endpoint("full", {"project": "p"})
    eventually(lambda: local.client.begin_endpoint("full", {"project": "p"}))
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": "no_machine", **fault}, headers=local.token)
    view = created(local, "full", f"blue-{code.rpartition('_')[2].lower()}")
    message = fault.get("message", "Not enough quota available for the requested instance type.")
    assert (view.state, view.error_code, view.error_message) == (DeploymentState.FAILED, code, message)


def delay(local: Local, kind: str) -> None:
    body = {"kind": kind, "seconds": 1.5}
    assert httpx.post(f"{local.url}/_emulator/faults", json=body, headers=local.token).status_code == 204


@pytest.mark.ci
def test_a_job_can_be_made_to_wait_for_its_machine(local: Local) -> None:
    delay(local, "slow_job")
    local.client.submit(job("waits-for-a-machine", "true"))
    assert local.finish("waits-for-a-machine").status is JobStatus.COMPLETED
    [stored] = [one for one in local.emulator.store.all("job") if one["name"] == "waits-for-a-machine"]
    times = {step["status"]: step["at"] for step in stored["history"]}
    assert times["Preparing"] - times["Queued"] >= 1.4
    assert stored["attempt"] == 1


@pytest.mark.ci
def test_endpoint_and_deployment_can_be_made_to_wait_for_their_machines(local: Local) -> None:
    local.client.register_model(CHAMPION)
    delay(local, "slow_endpoint")
    began = time.monotonic()
    local.client.begin_endpoint("slow", {"project": "p"})
    eventually(lambda: local.client.begin_endpoint("slow", {"project": "p"}))
    assert time.monotonic() - began >= 1.4
    delay(local, "slow_deployment")
    began = time.monotonic()
    assert created(local, "slow", "blue").state is DeploymentState.SUCCEEDED
    assert time.monotonic() - began >= 1.4
