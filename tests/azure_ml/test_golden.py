"""What goes over the wire for the base models of the catalogue."""

from __future__ import annotations

import pytest

from shared.domain.jobs import JobSpec, ModelSpec
from shared.domain.recipe import Tier
from tests.azure_ml.golden import check_golden, wire_body_of
from tests.azure_ml.support import Local, deployment, eventually

BASES = {
    "llama-3.1-8b": "azureml://registries/azureml-meta/models/Meta-Llama-3.1-8B-Instruct/versions/4",
    "mistral-7b": "azureml://registries/azureml/models/mistralai-Mistral-7B-Instruct-v0-3/versions/3",
    "phi-4": "azureml://registries/azureml/models/Phi-4/versions/8",
}


def training(base: str) -> JobSpec:
    run = f"runs/paths/run-{base.replace('.', '-')}"
    return JobSpec(
        name=f"run-{base.replace('.', '-')}-training-1",
        command="python -m training_job.train --data ${{inputs.data}} --base-model ${{inputs.base_model}}"
        " --recipe ${{inputs.recipe}} --output ${{outputs.run}}",
        environment="droptune-training:1",
        inputs={
            "data": "azureml://datastores/curated/paths/plant/0123abcd/",
            "base_model": BASES[base],
            "recipe": f"azureml://datastores/{run}/recipe.json",
        },
        outputs={"run": f"azureml://datastores/{run}/"},
        instance_type="Standard_NC24ads_A100_v4",
        tier=Tier.SPOT,
        timeout_s=12 * 3600,
        tags={"droptune.base_model": base},
    )


@pytest.mark.parametrize("base", BASES)
def test_the_job_body_is_the_one_on_file(local: Local, base: str) -> None:
    check_golden(f"job-{base}", wire_body_of(local, training(base)))


@pytest.mark.parametrize("base", BASES)
def test_the_endpoint_and_deployment_bodies_are_the_ones_on_file(local: Local, base: str) -> None:
    endpoint = f"plant-{base.replace('.', '-')}"
    check_golden(f"endpoint-{base}", wire_body_of(local, endpoint))
    eventually(lambda: local.client.begin_endpoint(endpoint, {}))
    local.client.register_model(
        ModelSpec(name=endpoint, version="1", uri="azureml://datastores/models/paths/candidate/")
    )
    spec = deployment(endpoint, "r0123abcd", f"{endpoint}:1", environment="droptune-serving:1")
    check_golden(f"deployment-{base}", wire_body_of(local, spec))
    local.client.begin_delete_deployment(endpoint, "r0123abcd")


def test_a_user_assigned_identity_goes_into_the_job(local: Local) -> None:
    from shared.clients.azure_ml import AzureMLClient
    from tests.azure_ml.support import WORKSPACE

    url = f"azureml+http://127.0.0.1:{local.emulator.config.port}/{WORKSPACE}"
    client = AzureMLClient(url, identity_client_id="11111111-2222-3333-4444-555555555555")
    local_with_identity = Local(local.emulator, client, local.blobs)
    spec = training("phi-4").model_copy(update={"name": "with-identity-training-1"})
    body = wire_body_of(local_with_identity, spec)["body"]
    assert body["properties"]["identity"] == {
        "identityType": "Managed",
        "clientId": "11111111-2222-3333-4444-555555555555",
    }
    client.close()
