"""`azd up` leaves images and environments: the real hook and the real Azure CLI, against recorded answers."""

from __future__ import annotations

import io
import json
import tarfile
from types import ModuleType

import pytest

from shared.settings import Settings
from tests.paths import ROOT
from tests.unit.infra.recorded_azure import OTHER_SUBSCRIPTION, SUBSCRIPTION, TENANT, Cli

pytestmark = pytest.mark.ci
TRAINING, SERVING = Settings().training_environment, Settings().serving_environment
PROVISIONED = {
    "AZURE_CONTAINER_REGISTRY_ENDPOINT": "crabc.azurecr.io",
    "AZURE_RESOURCE_GROUP": "rg-test",
    "DROPTUNE_WORKSPACE": "mlw-abc",
}


def created(cli: Cli) -> list[list[str]]:
    """The environments that the hook registers."""
    calls: list[list[str]] = [json.loads(line) for line in cli.noted("ml")]
    return [call for call in calls if call[:3] == ["ml", "environment", "create"]]


def test_the_first_time_both_images_are_built_and_both_environments_registered(cli: Cli) -> None:
    done = cli.run("postprovision.sh", **PROVISIONED)
    assert (done.returncode, "ERROR" in done.stderr) == (0, False)
    builds = cli.azure.build_requests
    assert [build["imageNames"] for build in builds] == [[TRAINING], [SERVING]]
    # What the CLI packs has the Dockerfile under a name of its own, and what the file copies.
    for build, upload, dockerfile, copied in zip(
        builds,
        cli.azure.sent("PUT", r"/source/tar\.gz$"),
        ("training_job/Dockerfile", "infra/environments/serving/Dockerfile"),
        ("training_job/requirements.txt", "Dockerfile"),
        strict=True,
    ):
        with tarfile.open(fileobj=io.BytesIO(upload.body)) as packed:
            file = packed.extractfile(build["dockerFilePath"])
            assert file is not None
            assert file.read() == (ROOT / dockerfile).read_bytes()
            assert copied in packed.getnames()
    assert all(build["timeout"] == 7200 for build in builds)
    registered = created(cli)
    assert [call[call.index("--image") + 1] for call in registered] == [
        f"crabc.azurecr.io/{environment}" for environment in (TRAINING, SERVING)
    ]
    assert all(call[call.index("--workspace-name") + 1] == "mlw-abc" for call in registered)
    assert all(call[call.index("--subscription") + 1] == SUBSCRIPTION for call in registered)
    assert cli.azure.unknown == []


def test_what_is_there_is_left_as_it_is(cli: Cli) -> None:
    cli.azure.images = {TRAINING, SERVING}
    for environment in (TRAINING, SERVING):
        (cli.place / environment).touch()
    done = cli.run("postprovision.sh", **PROVISIONED)
    assert done.returncode == 0
    assert (cli.azure.build_requests, created(cli)) == ([], [])
    assert done.stdout.splitlines() == [
        f"image {TRAINING} is there",
        f"environment {TRAINING} is registered",
        f"image {SERVING} is there",
        f"environment {SERVING} is registered",
    ]


def test_images_go_to_the_subscription_of_azd_though_the_cli_has_another_as_its_default(cli: Cli) -> None:
    cli.sign_in((OTHER_SUBSCRIPTION, TENANT), (SUBSCRIPTION, TENANT))
    assert cli.run("postprovision.sh", **PROVISIONED).returncode == 0
    assert len(cli.azure.build_requests) == 2
    assert not [one for one in cli.azure.requests if OTHER_SUBSCRIPTION in one.path]


def test_a_private_registry_is_not_built_in_but_the_commands_are_said(cli: Cli) -> None:
    done = cli.run("postprovision.sh", **PROVISIONED, DROPTUNE_SHAPE="prod")
    assert done.returncode == 0
    assert cli.azure.requests == []
    assert len(created(cli)) == 2
    assert f"docker push crabc.azurecr.io/{TRAINING}" in done.stdout
    assert "docker build --file infra/environments/serving/Dockerfile" in done.stdout


def test_a_build_that_fails_stops_azd_before_the_environment_is_registered(cli: Cli) -> None:
    cli.azure.builds = False
    done = cli.run("postprovision.sh", **PROVISIONED)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("a subscription without ACR Tasks builds it with Docker")
    assert cli.noted("ml") == []


@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
def test_the_check_of_a_gpu_is_a_job_in_the_training_environment(azure_ml_sdk: ModuleType) -> None:
    """With what the documentation's command line sets."""
    given = [{"resources.instance_type": "Standard_NC40ads_H100_v5"}, {"identity.client_id": "client"}]
    job = azure_ml_sdk.load_job(ROOT / "infra" / "gpu-check.yml", params_override=given)._to_job()
    body = job._to_rest_object().properties
    assert (body.environment_id, body.compute_id, body.code_id) == (TRAINING, None, None)
    assert (body.resources.instance_type, body.identity.client_id) == ("Standard_NC40ads_H100_v5", "client")
    assert body.command.startswith("nvidia-smi && ")


@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
@pytest.mark.parametrize(("name", "environment"), [("training", TRAINING), ("serving", SERVING)])
def test_the_file_and_the_image_are_a_whole_environment(azure_ml_sdk: ModuleType, name: str, environment: str) -> None:
    """The loader of the CLI's extension, which is on no package index; `--image` is an override of the file's field."""
    image = [{"image": f"crabc.azurecr.io/{environment}"}]
    loaded = azure_ml_sdk.load_environment(ROOT / "infra" / "environments" / f"{name}.yml", params_override=image)
    body = loaded._to_rest_object().properties
    assert (body.image, body.build, body.conda_file) == (f"crabc.azurecr.io/{environment}", None, None)
    assert (body.inference_config is not None) == (name == "serving")
