"""What goes over the wire for the base models of the catalog, from the pipeline's own specs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.base_models.import_job import import_job
from shared.domain.catalog import find_entry
from shared.domain.dataset import CuratedVersion, DatasetRef
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import Run, Status
from shared.services import build_config
from shared.settings import Settings
from shared.steps.deploy_model import deployment_spec, model_spec
from shared.steps.submit_evaluation import evaluation_job
from shared.steps.submit_training import training_job
from tests.unit.local_stack.azure_ml.golden import check_golden, wire_body_of
from tests.unit.local_stack.azure_ml.support import Local, eventually

# Short name -> catalog id, and a run id of its own for each: job names are unique in a workspace.
BASES = {
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B-Instruct", "run-00000000000a"),
    "mistral-7b": ("mistralai/Mistral-7B-Instruct-v0.3", "run-00000000000b"),
    "phi-4": ("microsoft/Phi-4", "run-00000000000c"),
}
LARGEST = "llama-3.3-70b"
CONFIG = build_config(Settings())


def run_of(base: str, characters: int = 4000) -> Run:
    """A run of 1,500 rows that was validated, as the functions would have it."""
    base_model, run_id = {**BASES, LARGEST: ("meta-llama/Llama-3.3-70B-Instruct", "run-00000000000e")}[base]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    source = DatasetRef(path="datasets/plant/train.jsonl", etag="1", size_bytes=1, sha256="0" * 64)
    curated = CuratedVersion(
        project="plant", version="c" * 64, source=source, train_rows=1500, eval_rows=120, characters_max=characters
    )
    recipe = Recipe(base_model=base_model, use_case="Answers questions of maintenance staff.")
    return Run(
        id=run_id,
        project="plant",
        status=Status.VALIDATED,
        revision=2,
        attempt=1,
        created_at=now,
        updated_at=now,
        deadline_at=None,
        dataset=source,
        fingerprint="0" * 16,
        curated=curated,
        recipe=resolve(recipe, f"plant-{base.replace('.', '-')}", train_rows=1500, characters_max=characters),
    )


@pytest.mark.parametrize("base", BASES)
def test_the_training_job_is_the_one_on_file(local: Local, base: str) -> None:
    check_golden(f"training-{base}", wire_body_of(local, training_job(run_of(base), CONFIG)))


def test_a_training_job_on_several_gpus_is_the_one_on_file(local: Local) -> None:
    run = run_of("phi-4")
    assert run.recipe is not None
    several = run.recipe.model_copy(update={"training_instance_type": "Standard_NC96ads_A100_v4"})
    spec = training_job(run.evolve(recipe=several), CONFIG).model_copy(update={"name": "several-gpus-training-1"})
    check_golden("training-phi-4-four-gpus", wire_body_of(local, spec))


def test_the_nodes_of_a_recipe_are_the_instances_of_its_training_job_and_of_no_other(local: Local) -> None:
    run = run_of("phi-4")
    assert run.recipe is not None
    budget = run.recipe.requested.budget.model_copy(update={"nodes": 3})
    recipe = run.recipe.model_copy(update={"requested": run.recipe.requested.model_copy(update={"budget": budget})})
    run = run.evolve(recipe=recipe)
    training = training_job(run, CONFIG).model_copy(update={"name": "three-nodes-training-1"})
    properties = wire_body_of(local, training)["body"]["properties"]
    assert properties["resources"]["instanceCount"] == 3
    assert properties["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 1}
    assert evaluation_job(run, None, CONFIG).instances == 1


def test_the_job_of_a_base_that_two_gpus_keep_in_parts_is_the_one_on_file(local: Local) -> None:
    run = run_of(LARGEST, 17_000)
    assert run.recipe is not None
    assert run.recipe.hyperparameters.sharding == "full"
    check_golden(f"training-{LARGEST}-in-parts", wire_body_of(local, training_job(run, CONFIG)))


@pytest.mark.parametrize("base", BASES)
def test_the_evaluation_job_is_the_one_on_file(local: Local, base: str) -> None:
    job = evaluation_job(run_of(base), "run-00000000000d", CONFIG)
    check_golden(f"evaluation-{base}", wire_body_of(local, job))


@pytest.mark.parametrize("base", [*BASES, LARGEST])
def test_the_endpoint_and_deployment_are_the_ones_on_file(local: Local, base: str) -> None:
    run = run_of(base)
    assert run.recipe is not None
    endpoint = run.recipe.endpoint
    check_golden(f"endpoint-{base}", wire_body_of(local, endpoint))
    eventually(lambda: local.client.begin_endpoint(endpoint, {}))
    (local.blobs / "runs" / run.id / "model" / "merged").mkdir(parents=True)
    local.client.register_model(model_spec(run))
    spec = deployment_spec(run, CONFIG)
    check_golden(f"deployment-{base}", wire_body_of(local, spec))
    local.client.begin_delete_deployment(endpoint, spec.name)


def test_a_user_assigned_identity_goes_into_the_job(local: Local) -> None:
    client = local.another_client(job_client_id="11111111-2222-3333-4444-555555555555")
    local_with_identity = Local(local.emulator, client, local.blobs)
    spec = training_job(run_of("phi-4"), CONFIG).model_copy(update={"name": "with-identity-training-1"})
    body = wire_body_of(local_with_identity, spec)["body"]
    assert body["properties"]["identity"] == {
        "identityType": "Managed",
        "clientId": "11111111-2222-3333-4444-555555555555",
    }
    client.close()


def test_an_endpoint_of_a_private_workspace_is_closed_and_has_its_own_identity(local: Local) -> None:
    identity = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/serve"
    client = local.another_client(endpoint_identity_id=identity, endpoint_is_public=False)
    body = wire_body_of(Local(local.emulator, client, local.blobs), "behind-a-door")["body"]
    assert body["properties"]["publicNetworkAccess"] == "disabled"
    assert body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    client.close()


def test_the_job_that_imports_a_base_model_is_the_one_on_file_and_has_an_identity_of_its_own(local: Local) -> None:
    client = local.another_client(job_client_id="of-runs", import_client_id="of-imports")
    spec = import_job(find_entry("microsoft/Phi-4"), 1, CONFIG)
    body = wire_body_of(Local(local.emulator, client, local.blobs), spec)
    assert body["body"]["properties"]["identity"]["clientId"] == "of-imports"
    check_golden("import-phi-4", body)
    client.close()
