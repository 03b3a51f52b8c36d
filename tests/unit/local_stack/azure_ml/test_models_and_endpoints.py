"""Registered models, endpoints and deployments through the real SDK against the emulator."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

import httpx
import pytest

from local_stack.azure_ml.strict import ArmError
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import DeploymentState, DeploymentView, ModelSpec
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, deployment, eventually

CHAMPION = ModelSpec(name="champion", version="1", uri="azureml://datastores/models/paths/champion/")
CANDIDATE = ModelSpec(name="candidate", version="1", uri="azureml://datastores/models/paths/candidate/")
HELLO = [{"role": "user", "content": "hello"}]


def created(local: Local, endpoint: str, name: str, model: str = "champion:1", **changes: Any) -> DeploymentView:
    local.client.begin_deployment(deployment(endpoint, name, model, **changes))

    def over() -> DeploymentView | None:
        view = local.client.get_deployment(endpoint, name)
        assert view is not None
        return None if view.state is DeploymentState.CREATING else view

    view = eventually(over)
    assert view is not None
    return view


def endpoint_with(local: Local, name: str, *deployments: str) -> str:
    local.client.register_model(CHAMPION)
    local.client.register_model(CANDIDATE)
    assert local.client.begin_endpoint(name, {"project": "p"}) is False
    eventually(lambda: local.client.begin_endpoint(name, {"project": "p"}))
    for index, blue_or_green in enumerate(deployments):
        model = ("champion:1", "candidate:1")[index]
        assert created(local, name, blue_or_green, model).state is DeploymentState.SUCCEEDED
    return name


def set_traffic(local: Local, name: str, traffic: dict[str, int]) -> None:
    local.client.begin_traffic(name, traffic)

    def shown() -> bool:
        view = local.client.get_endpoint(name)
        return view is not None and view.traffic == {key: value for key, value in traffic.items() if value}

    eventually(shown)


def test_registering_the_same_model_again_is_fine(local: Local) -> None:
    local.client.register_model(CHAMPION)
    local.client.register_model(CHAMPION)
    assert local.arm("GET", "models/champion/versions/1").status_code == 200


def test_the_same_version_with_another_path_is_refused(local: Local) -> None:
    local.client.register_model(CHAMPION)
    with pytest.raises(PermanentFailure) as refused:
        local.client.register_model(CHAMPION.model_copy(update={"uri": CANDIDATE.uri}))
    assert (refused.value.problem.code, refused.value.problem.param) == ("model_version_taken", "uri")
    body = {"properties": {"modelUri": CANDIDATE.uri, "modelType": "custom_model"}}
    assert local.arm("PUT", "models/champion/versions/1", body).status_code == 409


def test_a_model_without_files_is_refused(local: Local) -> None:
    nothing = ModelSpec(name="nothing", version="1", uri="azureml://datastores/models/paths/nothing/")
    with pytest.raises(PermanentFailure, match="no files at"):
        local.client.register_model(nothing)


def test_an_endpoint_is_usable_once_it_is_provisioned_and_has_no_traffic_yet(local: Local) -> None:
    name = endpoint_with(local, "fresh")
    view = local.client.get_endpoint(name)
    assert view is not None
    assert (view.traffic, view.deployments) == ({}, ())
    assert view.scoring_uri == f"{local.url}/endpoints/fresh/"
    with pytest.raises(PermanentFailure) as refused:
        local.client.chat(name, HELLO)
    assert refused.value.problem.code == "endpoint_refused"
    assert "404" in refused.value.problem.message


def test_unknown_endpoints_and_deployments_are_none(local: Local) -> None:
    assert local.client.get_endpoint("nowhere") is None
    assert local.client.get_deployment("nowhere", "blue") is None
    local.client.begin_delete_deployment("nowhere", "blue")


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


def test_a_chat_is_greedy_and_names_no_model(local: Local) -> None:
    name = endpoint_with(local, "greedy", "blue")
    headers = {**local.token, "azureml-model-deployment": "blue"}
    answer_of_blue = local.client.chat(name, HELLO, deployment="blue", max_tokens=7)
    assert answer_of_blue.text == "champion: hello"
    answer = httpx.post(f"{local.url}/endpoints/greedy/v1/chat/completions", json={"messages": HELLO}, headers=headers)
    assert answer.json()["asked"] == {"messages": HELLO}
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_a_scoring_call_needs_a_token_for_scoring(local: Local) -> None:
    name = endpoint_with(local, "guarded", "blue")
    url = f"{local.url}/endpoints/{name}/health"
    assert httpx.get(url, headers={"azureml-model-deployment": "blue"}).status_code == 401
    headers = {"Authorization": f"Bearer {local.client.session.token('https://management.azure.com/.default')}"}
    assert httpx.get(url, headers=headers).status_code == 401


def test_an_error_of_the_container_is_424_and_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "sick")
    created(local, name, "blue", environment_variables={"ANSWER_STATUS": "500"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue")
    assert failed.value.problem.message == "sick answered 424 (container: 500)"


def test_a_chat_that_takes_too_long_is_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "slow")
    created(local, name, "blue", environment_variables={"ANSWER_AFTER_S": "1"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue", timeout_s=0.2)
    assert failed.value.problem.code == "endpoint_unreachable"


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


def test_nothing_is_printed_and_no_thread_keeps_polling(
    local: Local, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        name = endpoint_with(local, "silent", "blue")
        set_traffic(local, name, {"blue": 100})
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in caplog.records if record.name.startswith("azure.ai.ml")] == []
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("LROPoller")])


def test_the_same_deployment_again_is_fine_and_another_one_of_that_name_is_refused(local: Local) -> None:
    name = endpoint_with(local, "again", "blue")
    local.client.begin_deployment(deployment(name, "blue", "champion:1"))
    with pytest.raises(PermanentFailure) as refused:
        local.client.begin_deployment(deployment(name, "blue", "candidate:1"))
    assert (refused.value.problem.code, refused.value.problem.param) == ("deployment_name_taken", "model")


def test_a_deployment_that_carries_traffic_cannot_be_deleted(local: Local) -> None:
    name = endpoint_with(local, "busy", "blue", "green")
    set_traffic(local, name, {"blue": 100, "green": 0})
    with pytest.raises(PermanentFailure, match="carries traffic") as refused:
        local.client.begin_delete_deployment(name, "blue")
    assert refused.value.failure_class is FailureClass.PLATFORM
    local.client.begin_delete_deployment(name, "green")
    eventually(lambda: local.client.get_deployment(name, "green") is None)
    assert local.client.chat(name, HELLO).deployment == "blue"


@pytest.mark.parametrize("traffic", [{"blue": 50}, {"blue": 101}, {"purple": 100}])
def test_traffic_must_sum_to_100_over_deployments_that_exist(local: Local, traffic: dict[str, int]) -> None:
    name = f"wrong-{'-'.join(traffic)}-{sum(traffic.values())}"
    endpoint_with(local, name, "blue")
    with pytest.raises(PermanentFailure) as refused:
        local.client.begin_traffic(name, traffic)
    assert refused.value.problem.code == "azure_ml_refused"


def test_traffic_cannot_be_given_at_creation(local: Local) -> None:
    body = {"location": "local", "properties": {"authMode": "AADToken", "traffic": {"blue": 100}}}
    answer = local.arm("PUT", "onlineEndpoints/too-early", body)
    assert answer.status_code == 400


def test_a_change_during_a_change_is_worth_a_retry(local: Local) -> None:
    endpoint_with(local, "hasty", "blue")
    emulator = local.emulator
    with emulator.store.transaction():
        endpoint = emulator.endpoints.get("hasty")
        endpoint["properties"]["provisioningState"] = "Updating"
        emulator.store.put("endpoint", "hasty", endpoint)
        with pytest.raises(ArmError, match="in progress") as refused:
            emulator.endpoints.put(ARM_WORKSPACE, "hasty", {})
    assert (refused.value.status, refused.value.code) == (409, "Conflict")


@pytest.mark.parametrize("name", ["1starts-with-a-digit", "ab", "ends-with-a-dash-", "x" * 33, "under_score"])
def test_a_bad_endpoint_name_is_refused(local: Local, name: str) -> None:
    body = {"location": "local", "properties": {"authMode": "AADToken"}}
    assert local.arm("PUT", f"onlineEndpoints/{name}", body).status_code == 400


def test_too_many_requests_at_once_are_answered_429(local: Local) -> None:
    name = endpoint_with(local, "full", "blue")
    local.emulator.proxy._busy["full/blue"] = 64
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue")
    assert failed.value.problem.message == "full answered 429"
