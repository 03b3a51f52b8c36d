"""ModelHost against the emulator."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
import requests

from shared.domain.errors import PermanentFailure, Transient
from shared.domain.jobs import DeploymentState
from tests.unit.local_stack.azure_ml.deployed import CANDIDATE, CHAMPION, HELLO, endpoint_with, set_traffic
from tests.unit.local_stack.azure_ml.support import Local, deployment, eventually
from tests.unit.shared.clients.azure_ml.answered import WORKSPACE, answer, client_answered, refusal


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


def test_the_same_deployment_again_is_fine_also_from_another_version_and_one_of_another_model_is_refused(
    local: Local,
) -> None:
    name = endpoint_with(local, "again", "blue")
    local.client.begin_deployment(deployment(name, "blue", "champion:1"))
    before = local.client.get_deployment(name, "blue")
    local.client.begin_deployment(deployment(name, "blue", "champion:1", environment="droptune-serving:2"))
    assert local.client.get_deployment(name, "blue") == before
    with pytest.raises(PermanentFailure) as refused:
        local.client.begin_deployment(deployment(name, "blue", "candidate:1"))
    assert (refused.value.problem.code, refused.value.problem.param) == ("deployment_name_taken", "model")


def test_autoscale_is_written_again_and_goes_and_a_second_creation_leaves_the_machines(local: Local) -> None:
    name = endpoint_with(local, "scales", "blue")
    spec = deployment(name, "blue", "champion:1", max_instances=3)
    for _ in range(2):
        local.client.set_autoscale(spec)
    (setting,) = local.emulator.store.all("autoscale")
    assert setting["name"] == "local-scales-blue"
    with local.emulator.store.transaction():
        blue = local.emulator.store.find("deployment", "scales/blue")
        blue["sku"]["capacity"] = 2
        local.emulator.store.put("deployment", "scales/blue", blue)
    local.client.begin_deployment(spec)
    set_traffic(local, name, {"blue": 100})
    view = local.client.get_deployment(name, "blue")
    assert (view and view.instances) == 2
    for _ in range(2):
        local.client.delete_autoscale(name, "blue")
    assert local.emulator.store.all("autoscale") == []


def test_autoscale_of_a_deployment_that_is_not_there_is_refused(local: Local) -> None:
    with pytest.raises(PermanentFailure, match="endpoint nowhere does not exist") as refused:
        local.client.set_autoscale(deployment("nowhere", "blue", "champion:1", max_instances=2))
    assert refused.value.problem.code == "azure_ml_not_found"


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        (lambda host: host == "shop.local.inference.ml.azure.com", True),
        (lambda host: True, False),  # a domain that answers any name tells nothing
        (lambda host: False, False),
    ],
    ids=["known", "any", "unknown"],
)
def test_a_name_is_taken_if_dns_knows_it_and_no_name_that_nobody_has(
    local: Local, monkeypatch: pytest.MonkeyPatch, known: Any, taken: bool
) -> None:
    looked_up, real = [], socket.getaddrinfo

    def look_up(host: str, port: int, *more: Any) -> list[Any]:
        if host == "127.0.0.1":  # the emulator, whose connection was closed meanwhile
            return real(host, port, *more)
        looked_up.append(host)
        if not known(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert local.client.is_name_taken("shop") is False
    assert looked_up == [], "the emulator has one workspace, and a laptop need not have DNS"
    session = local.client.session
    monkeypatch.setattr(session, "workspace", replace(session.workspace, emulator=None))
    assert local.client.is_name_taken("shop") is taken
    assert looked_up[0] == "shop.local.inference.ml.azure.com"
    assert {host.partition(".")[2] for host in looked_up} == {"local.inference.ml.azure.com"}


def test_an_endpoint_is_deleted_with_its_deployments_and_not_while_it_changes(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint_with(local, "leaves", "blue")
    with monkeypatch.context() as stopped:  # deletion may end before the second request otherwise
        ticks: list[int] = []
        stopped.setattr(local.emulator.serving, "tick", lambda: ticks.append(1))
        eventually(lambda: ticks)
        local.client.begin_delete_endpoint("leaves")
        with pytest.raises(Transient):
            local.client.begin_delete_endpoint("leaves")
    eventually(lambda: local.client.get_endpoint("leaves") is None)
    local.client.begin_delete_endpoint("leaves")


def test_the_deployments_of_all_pages_are_those_of_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def respond(_: str, url: str) -> requests.Response:
        if "/deployments" not in url:
            return answer(200, {"properties": {"traffic": {"blue": "100", "green": 0}, "scoringUri": "https://x"}})
        name = "green" if "skip" in url else "blue"
        return answer(
            200, {"value": [{"name": name}], "nextLink": None if "skip" in url else f"{WORKSPACE}{url}&$skip=1"}
        )

    client, _ = client_answered(monkeypatch, respond)
    view = client.get_endpoint("shop")
    assert view is not None
    assert (view.deployments, view.traffic) == (("blue", "green"), {"blue": 100})


def test_an_endpoint_that_goes_while_it_is_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    there = answer(200, {"properties": {}})
    client, _ = client_answered(monkeypatch, lambda _, url: answer(404) if "/deployments" in url else there)
    assert client.get_endpoint("shop") is None


@pytest.mark.parametrize("operation", [f"{WORKSPACE}/op?api-version=1", "https://example.com/op"])
def test_a_deployment_whose_operation_may_not_be_read_has_failed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    failed = {"provisioningState": "Failed", "properties": {"AzureAsyncOperationUri": operation}}

    def respond(_: str, url: str) -> requests.Response:
        return refusal(403, "AuthorizationFailed", "no") if "/op" in url else answer(200, {"properties": failed})

    client, _ = client_answered(monkeypatch, respond)
    view = client.get_deployment("shop", "blue")
    assert view is not None
    assert (view.state, view.error_code, view.instances) == (DeploymentState.FAILED, None, None)
    assert str(view.error_message).startswith("its operation cannot be read: ")


@pytest.mark.parametrize("state", ["Deleting", "deleting"])
def test_a_deployment_does_not_begin_while_an_earlier_one_of_its_name_is_being_deleted(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    old = {"properties": {"provisioningState": state, "model": "azureml:shop:1"}}
    client, sent = client_answered(monkeypatch, lambda *_: answer(200, old))
    with pytest.raises(Transient) as later:
        client.begin_deployment(deployment("shop", "blue", "shop:1"))
    assert later.value.problem.code == "azure_ml_busy"
    assert [one[:3] for one in sent] == ["GET"]
