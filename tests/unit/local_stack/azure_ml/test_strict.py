"""What a request may hold, and where a URI may lead."""

from __future__ import annotations

import json

import pytest

from local_stack.azure_ml.strict import ArmError, check_keys, local_path
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, job


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("jobs/keys", {"properties": {"jobType": "Command", "priority": 1}}, "job.properties.priority"),
        (
            "jobs/keys",
            {"properties": {"inputs": {"data": {"url": "x"}}}},
            "job.properties.inputs.data.url",
        ),
        ("models/m/versions/1", {"properties": {"path": "x"}}, "model.properties.path"),
        ("onlineEndpoints/keys", {"properties": {"auth_mode": "key"}}, "endpoint.properties.auth_mode"),
        ("onlineEndpoints/keys/deployments/blue", {"skus": {}}, "deployment.skus"),
    ],
)
def test_an_unknown_key_in_a_body_is_refused_and_named(
    local: Local, path: str, body: dict[str, object], field: str
) -> None:
    answer = local.arm("PUT", path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UserError")
    assert f"'{field}'" in answer.json()["error"]["message"]


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
    check_keys("job", json.loads('{"properties": {"tags": {"any": "thing"}, "inputs": {"x": {"uri": "y"}}}}'))
