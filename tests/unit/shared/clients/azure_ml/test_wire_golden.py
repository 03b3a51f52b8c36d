"""What goes over the wire for the base models of the catalog, from the pipeline's own specs."""

from __future__ import annotations

import pytest

from shared.steps.deploy_model import deployment_spec, model_spec
from shared.steps.submit_evaluation import evaluation_job
from shared.steps.submit_training import training_job
from tests.unit.local_stack.azure_ml.deployed import endpoint_with
from tests.unit.local_stack.azure_ml.golden import check_golden, wire_body_of
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually
from tests.unit.shared.clients.azure_ml.runs import BASES, CONFIG, LARGEST, run_of


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
    job = evaluation_job(run_of(base).evolve(held_out_attempt=2), "run-00000000000d", CONFIG)
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


def test_the_autoscale_setting_is_the_one_on_file(local: Local) -> None:
    run = run_of("phi-4")
    assert run.recipe is not None
    deployment = run.recipe.requested.deployment.model_copy(update={"instances": 2, "max_instances": 5})
    requested = run.recipe.requested.model_copy(update={"deployment": deployment})
    run = run.evolve(recipe=run.recipe.model_copy(update={"requested": requested}))
    there = {"endpoint": endpoint_with(local, "scaled", "blue"), "name": "blue"}
    local.client.set_autoscale(deployment_spec(run, CONFIG).model_copy(update=there))
    put = local.emulator.requests[-1]
    path = put["path"].removeprefix(ARM_WORKSPACE.split("/providers/")[0] + "/")
    check_golden("autoscale-phi-4", {"path": path, "api_version": put["api_version"], "body": put["body"]})
