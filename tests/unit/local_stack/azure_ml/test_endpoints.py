"""Endpoints and deployments of the emulator: their traffic, and what is refused."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError

from local_stack.azure_ml.strict import ArmError
from shared.clients.azure_ml.errors import translate
from shared.domain.errors import DroptuneError, FailureClass, PermanentFailure, Transient
from tests.unit.local_stack.azure_ml.deployed import HELLO, created, endpoint_with, set_traffic
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually


def test_a_deployment_that_carries_traffic_cannot_be_deleted(local: Local) -> None:
    name = endpoint_with(local, "busy", "blue", "green")
    set_traffic(local, name, {"blue": 100, "green": 0})
    with pytest.raises(PermanentFailure, match="carries traffic") as refused:
        local.client.begin_delete_deployment(name, "blue")
    assert refused.value.failure_class is FailureClass.PLATFORM
    local.client.begin_delete_deployment(name, "green")
    eventually(lambda: local.client.get_deployment(name, "green") is None)
    assert local.client.chat(name, HELLO).deployment == "blue"


def test_the_license_of_the_model_with_the_largest_share_is_in_the_endpoints_tags(local: Local) -> None:
    name = endpoint_with(local, "licensed")
    asks = {"license": "MIT", "license_asks_1": "a"}
    created(
        local, name, "blue", tags={"run": "a", "license": "Apache-2.0", **{f"license_asks_{n}": "b" for n in (1, 2)}}
    )
    created(local, name, "green", "candidate:1", tags={"run": "b", **asks})
    for blue, tags in ((60, {"license": "Apache-2.0", "license_asks_1": "b", "license_asks_2": "b"}), (40, asks)):
        set_traffic(local, name, {"blue": blue, "green": 100 - blue})
        assert local.arm("GET", f"onlineEndpoints/{name}").json()["tags"] == {"project": "p", **tags}


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
        with pytest.raises(ArmError, match="already running") as refused:
            emulator.endpoints.put(ARM_WORKSPACE, "hasty", {})
    assert (refused.value.status, refused.value.code) == (409, "Conflict")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Creating", (Transient, "azure_ml_busy")),
        ("Updating", (Transient, "azure_ml_busy")),
        ("Failed", (PermanentFailure, "azure_ml_refused")),
    ],
)
def test_no_deployment_is_made_in_an_endpoint_that_changes_or_failed(
    local: Local, state: str, expected: tuple[type[DroptuneError], str]
) -> None:
    name = endpoint_with(local, f"not-ready-{state.lower()}", "blue")
    emulator = local.emulator
    with emulator.store.transaction():
        endpoint = emulator.endpoints.get(name)
        endpoint["properties"]["provisioningState"] = state
        emulator.store.put("endpoint", name, endpoint)
        # In the transaction: nothing may end the change before it is refused.
        with pytest.raises(ArmError) as refused:
            emulator.endpoints.put_deployment(ARM_WORKSPACE, name, "green", {})
    message = f"Cannot create a deployment in endpoint {name} because it is in {state} provisioning state."
    assert (refused.value.status, refused.value.code, str(refused.value)) == (400, "UserError", message)
    answer = HttpResponseError(message)
    answer.status_code = 400
    found = translate(answer)
    assert found is not None
    assert (type(found), found.problem.code) == expected


@pytest.mark.parametrize("name", ["1starts-with-a-digit", "ab", "ends-with-a-dash-", "x" * 33, "under_score"])
def test_a_bad_endpoint_name_is_refused(local: Local, name: str) -> None:
    body = {"location": "local", "properties": {"authMode": "AADToken"}}
    assert local.arm("PUT", f"onlineEndpoints/{name}", body).status_code == 400
