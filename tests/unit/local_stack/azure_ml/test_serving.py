"""The servers of deployments, and what they are asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import pytest

from shared.domain.errors import Transient
from shared.domain.jobs import DeploymentState, DeploymentView
from shared.domain.prompts import Prompt
from tests.unit.local_stack.azure_ml.deployed import HELLO, created, endpoint_with, set_traffic
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually


def test_traffic_is_split_and_a_header_passes_it_by(local: Local) -> None:
    name = endpoint_with(local, "split", "blue", "green")
    set_traffic(local, name, {"blue": 90, "green": 10})
    answers = [local.client.chat(name, HELLO) for _ in range(20)]
    assert Counter(answer.deployment for answer in answers) == {"blue": 18, "green": 2}
    assert {answer.text for answer in answers} == {"champion: hello", "candidate: hello"}
    pinned = local.client.chat(name, HELLO, deployment="green")
    assert (pinned.deployment, pinned.text) == ("green", "candidate: hello")
    assert pinned.latency_s > 0
    # The header of one call does not stick to the next ones.
    again = Counter(local.client.chat(name, HELLO).deployment for _ in range(10))
    assert again == {"blue": 9, "green": 1}


def test_a_scoring_call_needs_a_token_for_scoring(local: Local) -> None:
    name = endpoint_with(local, "guarded", "blue")
    url = f"{local.url}/endpoints/{name}/health"
    assert httpx.get(url, headers={"azureml-model-deployment": "blue"}).status_code == 401
    headers = {"Authorization": f"Bearer {local.client.session.token('https://management.azure.com/.default')}"}
    assert httpx.get(url, headers=headers).status_code == 401


def test_a_deployment_that_crashes_fails_with_its_reason_and_its_log(local: Local) -> None:
    name = endpoint_with(local, "crashes")
    view = created(local, name, "blue", environment_variables={"EXIT_AT_START": "1"})
    assert (view.state, view.error_code) == (DeploymentState.FAILED, "ResourceNotReady")
    assert view.error_message is not None
    assert "exited before it was ready" in view.error_message
    (log,) = local.emulator.config.root.glob(f"deployments/{name}/*/container.log")
    assert log.read_text() == "the weights do not fit\n"


def test_a_deployment_that_never_gets_ready_fails(local: Local) -> None:
    name = endpoint_with(local, "unready")
    body = {
        "location": "local",
        "properties": {
            "endpointComputeType": "Managed",
            "environmentId": f"{ARM_WORKSPACE}/environments/echo/versions/1",
            "model": f"{ARM_WORKSPACE}/models/champion/versions/1",
            "instanceType": "Standard_DS3_v2",
            "environmentVariables": {"NEVER_READY": "1"},
            "readinessProbe": {"initialDelay": "PT0S", "period": "PT1S", "failureThreshold": 1},
        },
        "sku": {"name": "Default", "capacity": 1},
    }
    assert local.arm("PUT", f"onlineEndpoints/{name}/deployments/blue", body).status_code == 201
    view = created(local, name, "green")
    assert view.state is DeploymentState.SUCCEEDED
    failed = eventually(
        lambda: (found := local.client.get_deployment(name, "blue")) and found.state is DeploymentState.FAILED and found
    )
    assert failed
    assert failed.error_code == "ResourceNotReady"


def body_of(probes: dict[str, Any], **variables: str) -> dict[str, Any]:
    properties = {
        "endpointComputeType": "Managed",
        "environmentId": f"{ARM_WORKSPACE}/environments/echo/versions/1",
        "model": f"{ARM_WORKSPACE}/models/champion/versions/1",
        "instanceType": "Standard_DS3_v2",
        "environmentVariables": variables,
    }
    return {"location": "local", "properties": properties | probes, "sku": {"name": "Default", "capacity": 1}}


def state_of(local: Local, name: str) -> DeploymentView | None:
    view = local.client.get_deployment(name, "blue")
    return None if view is None or view.state is DeploymentState.CREATING else view


@pytest.mark.ci
def test_a_server_that_stops_answering_its_liveness_probe_is_started_again(local: Local) -> None:
    name = endpoint_with(local, "silent")
    probe = {"initialDelay": "PT0S", "period": "PT1S", "timeout": "PT2S", "failureThreshold": 2}
    local.arm("PUT", f"onlineEndpoints/{name}/deployments/blue", body_of({"livenessProbe": probe}))
    assert eventually(lambda: state_of(local, name)).state is DeploymentState.SUCCEEDED  # type: ignore[union-attr]
    local.client.chat(name, Prompt([{"role": "user", "content": "fall silent"}]), deployment="blue")
    attempts = lambda: local.emulator.store.all("deployment", f"{name}/")[0]["emulator"]["attempt"]  # noqa: E731
    assert eventually(lambda: attempts() > 1)
    assert eventually(lambda: answers(local, name))
    assert attempts() == 2


def answers(local: Local, name: str) -> bool:
    url = f"{local.url}/endpoints/{name}/health"
    token = local.client.session.token("https://ml.azure.com/.default")
    headers = {"Authorization": f"Bearer {token}", "azureml-model-deployment": "blue"}
    return httpx.get(url, headers=headers).status_code == 200


@pytest.mark.ci
def test_a_server_that_is_not_alive_while_it_is_created_fails_whatever_patience_its_readiness_has(local: Local) -> None:
    name = endpoint_with(local, "stillborn")
    probes = {
        "livenessProbe": {"initialDelay": "PT0S", "period": "PT1S", "failureThreshold": 2},
        "readinessProbe": {"initialDelay": "PT1H", "period": "PT1H", "failureThreshold": 30},
    }
    local.arm("PUT", f"onlineEndpoints/{name}/deployments/blue", body_of(probes, NEVER_READY="1"))
    failed = eventually(lambda: state_of(local, name))
    assert failed is not None
    assert (failed.state, failed.error_code) == (DeploymentState.FAILED, "ResourceNotReady")
    assert "the liveness probe failed too often" in str(failed.error_message)


def test_too_many_requests_at_once_are_answered_429(local: Local) -> None:
    name = endpoint_with(local, "full", "blue")
    local.emulator.proxy.busy["full/blue"] = 64
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue")
    assert failed.value.problem.message == "full answered 429"
