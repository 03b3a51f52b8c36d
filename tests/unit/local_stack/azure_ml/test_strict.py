"""What a request may hold, and where a URI may lead."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from local_stack.azure_ml.strict import ENDPOINT_NAME, ArmError, check_body, local_path
from shared.domain.recipe import Recipe, is_name
from tests.examples import examples
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, job

JOB = {"jobType": "Command", "command": "true", "environmentId": "e"}
UNKNOWN = "Additional properties are not allowed"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("jobs/keys", {"properties": {**JOB, "priority": 1}}, f"properties {UNKNOWN} ('priority' was unexpected)"),
        ("jobs/keys", {"properties": {**JOB, "jobType": "Batch"}}, "properties jobType is 'Batch', known are Command"),
        (
            "jobs/keys",
            {"properties": {**JOB, "inputs": {"data": {"jobInputType": "uri_file", "uri": "x", "url": "x"}}}},
            f"properties.inputs.data {UNKNOWN} ('url' was unexpected)",
        ),
        ("jobs/keys", {"properties": {**JOB, "status": "Queued"}}, "properties.status is read-only, or never answered"),
        ("jobs/keys", {"properties": {"jobType": "Command"}}, "properties 'command' is a required property"),
        ("models/m/versions/1", {"properties": {"path": "x"}}, f"properties {UNKNOWN} ('path' was unexpected)"),
        (
            "onlineEndpoints/keys",
            {"location": "l", "properties": {"authMode": "Key", "auth_mode": "key"}},
            f"properties {UNKNOWN} ('auth_mode' was unexpected)",
        ),
        ("onlineEndpoints/keys/deployments/blue", {"skus": {}}, f"{UNKNOWN} ('skus' was unexpected)"),
    ],
)
def test_a_body_that_is_not_as_published_is_refused_and_the_field_named(
    local: Local, path: str, body: dict[str, Any], message: str
) -> None:
    answer = local.arm("PUT", path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UserError")
    assert answer.json()["error"]["message"] == message


def test_a_field_that_is_published_and_not_emulated_is_refused_as_that(local: Local) -> None:
    answer = local.arm("PUT", "jobs/scheduled", {"properties": {**JOB, "notificationSetting": {}}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotImplemented")
    assert answer.json()["error"]["message"] == "the field 'job.properties.notificationSetting' is not emulated"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({}, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required"),
        ({"api-version": "2031-01-01"}, "NoRegisteredProviderFound", "No registered resource provider found for"),
        (
            {"api-version": "latest"},
            "NoRegisteredProviderFound",
            "for type 'workspaces/onlineEndpoints'. The supported",
        ),
    ],
)
def test_a_call_without_an_api_version_or_with_one_that_azure_lacks_is_refused(
    local: Local, method: str, query: dict[str, str], code: str, message: str
) -> None:
    url = f"{local.url}{ARM_WORKSPACE}/onlineEndpoints/versions"
    body = {"location": "local", "properties": {"authMode": "AADToken"}} if method == "PUT" else None
    answer = httpx.request(method, url, params=query, json=body, headers=local.token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert message in answer.json()["error"]["message"]
    assert local.client.get_endpoint("versions") is None


def test_also_an_action_and_a_list_of_the_region_need_a_version(local: Local) -> None:
    region = "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/local/usages"
    for method, path in (("POST", f"{ARM_WORKSPACE}/jobs/none/cancel"), ("GET", region)):
        answer = httpx.request(method, local.url + path, params={"api-version": "1"}, headers=local.token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "NoRegisteredProviderFound"), path


def test_a_body_that_is_no_object_is_refused(local: Local) -> None:
    assert local.arm("PUT", "jobs/list", [1]).status_code == 400


def test_a_uri_cannot_leave_its_datastore(local: Local) -> None:
    outputs = {"model": "azureml://datastores/runs/paths/../../elsewhere/"}
    with pytest.raises(Exception, match="leaves its datastore"):
        local.client.submit(job("escapes", "true", outputs=outputs))


def test_long_and_short_uris_and_registry_models_are_the_same_folders(local: Local) -> None:
    long = f"azureml:/{ARM_WORKSPACE}/datastores/curated/paths/p/1/".replace(
        "providers/Microsoft.MachineLearningServices/", ""
    )
    assert local_path(long, local.blobs) == local_path("azureml://datastores/curated/paths/p/1/", local.blobs)
    registry = local_path("azureml://registries/azureml/models/Phi-4/versions/8", local.blobs)
    assert registry == local.blobs / "registries/azureml/models/Phi-4/versions/8"
    with pytest.raises(ArmError, match="neither a datastore path nor a registry model"):
        local_path("https://example.com/x", local.blobs)


def test_free_form_fields_take_any_key() -> None:
    # must not raise
    check_body(f"{ARM_WORKSPACE}/jobs/tags", "2025-01-01-preview", {"properties": {**JOB, "tags": {"any": "thing"}}})


@pytest.mark.usefixtures("azure_ml_sdk")
@examples(500, deadline=None)
@given(st.text("a0-", max_size=34) | st.text(max_size=5))
@example("a" * 32)
@example("a" * 33)
@example("shop\n")
@example("claims--letters")
def test_a_name_is_one_that_azure_takes_for_an_endpoint(name: str) -> None:
    """By the SDK's own check, by the emulator's, and by the rule of single dashes, which the SDK does not know."""
    from azure.ai.ml.entities._endpoint._endpoint_helpers import validate_endpoint_or_deployment_name
    from azure.ai.ml.exceptions import ValidationException

    recipe = {"base_model": "b", "deployment": {"endpoint": name}}
    if is_name(name):
        validate_endpoint_or_deployment_name(name)
        assert ENDPOINT_NAME.fullmatch(name)
        assert "--" not in name
        assert Recipe.model_validate(recipe).deployment.endpoint == name
        return
    with pytest.raises(ValidationError, match="endpoint"):
        Recipe.model_validate(recipe)
    if name == name.lower() and name.isascii():
        assert not ENDPOINT_NAME.fullmatch(name)
        if "--" not in name and "\n" not in name:
            with pytest.raises(ValidationException):
                validate_endpoint_or_deployment_name(name)
