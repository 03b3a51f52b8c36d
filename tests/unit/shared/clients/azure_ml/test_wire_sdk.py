"""What the client sends is what the unmodified azure-ai-ml sends for the same job, model, endpoint and deployment.

The function app goes without that package: see docs/decisions/0039-azure-ml-over-its-rest-api.md.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.core.polling.arm_polling import ARMPolling

from shared.clients.azure_ml.connection import LocalCredential
from shared.domain.errors import PermanentFailure
from shared.domain.jobs import DeploymentSpec, JobSpec, ModelSpec
from shared.domain.recipe import Tier
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, deployment, eventually, job

pytestmark = [
    # The SDK builds schemas in a way that marshmallow 4 will no longer have.
    pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"),
    pytest.mark.ci,
]
IDENTITY = "11111111-2222-3333-4444-555555555555"
SERVING = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/serve"


class StartOnly(ARMPolling):
    """Does not wait in a thread for what was begun."""

    def finished(self) -> bool:
        return True


@pytest.fixture
def sdk(azure_ml_sdk: ModuleType, local: Local, monkeypatch: pytest.MonkeyPatch) -> Any:
    from azure.ai.ml.operations import _job_operations, _online_deployment_operations, _online_endpoint_operations

    class Loopback(RequestsTransport):  # type: ignore[misc, unused-ignore]
        def send(self, request: Any, **options: Any) -> Any:
            original, request.url = request.url, local.client.session.workspace.reachable(request.url)
            try:
                return super().send(request, **options)
            finally:
                request.url = original  # the policies refuse tokens on plain http

    for module in (_online_deployment_operations, _online_endpoint_operations):
        monkeypatch.setattr(module, "AzureMLPolling", StartOnly)
    monkeypatch.setattr(_job_operations, "get_git_properties", dict)  # of this repository
    options = {"show_progress": False, "enable_telemetry": False, "transport": Loopback(use_env_settings=False)}
    credential: Any = LocalCredential(local.emulator.config.secret)
    return azure_ml_sdk.MLClient(credential, "local", "local", "local", **options)


def put(local: Local, path: str) -> tuple[str, Any]:
    """Version and body of the last request that wrote it."""
    target = ("PUT", f"{ARM_WORKSPACE}/{path}")
    sent = [one for one in local.emulator.requests if (one["method"], one["path"]) == target]
    return sent[-1]["api_version"], sent[-1]["body"]


def command_of(spec: JobSpec, client_id: str | None) -> Any:
    from azure.ai.ml import Input, Output, PyTorchDistribution, command
    from azure.ai.ml.entities import ManagedIdentityConfiguration

    kinds = {"data": "uri_folder", "recipe": "uri_file", "base_model": "mlflow_model"}
    alone = spec.instances == spec.processes == 1
    return command(
        name=spec.name,
        display_name=spec.name,
        experiment_name="droptune",
        command=spec.command,
        environment=spec.environment,
        inputs={name: Input(type=kinds[name], path=uri, mode="ro_mount") for name, uri in spec.inputs.items()},
        outputs={name: Output(type="uri_folder", path=uri, mode="rw_mount") for name, uri in spec.outputs.items()},
        instance_type=spec.instance_type,
        instance_count=spec.instances,
        distribution=None if alone else PyTorchDistribution(process_count_per_instance=spec.processes),
        job_tier={Tier.SPOT: "spot", Tier.DEDICATED: "standard"}[spec.tier],
        timeout=spec.timeout_s,
        tags=dict(spec.tags),
        identity=ManagedIdentityConfiguration(client_id=client_id) if client_id else None,
    )


@pytest.mark.parametrize("client_id", [None, IDENTITY])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"instances": 2, "tier": Tier.DEDICATED, "timeout_s": 90061, "tags": {}},
        {"processes": 4, "inputs": {"base_model": "azureml://registries/azureml-meta/models/Phi-4/versions/1"}},
    ],
    ids=["alone", "two machines", "four processes"],
)
def test_a_job(local: Local, sdk: Any, client_id: str | None, changes: dict[str, Any]) -> None:
    number = len(local.emulator.requests)
    spec = job(f"by-client-{number}", "true", **changes)
    client = local.another_client(job_client_id=client_id)
    client.submit(spec)
    client.close()
    by_sdk = spec.model_copy(update={"name": f"by-sdk-{number}"})
    sdk.jobs.create_or_update(command_of(by_sdk, client_id))
    version, body = put(local, f"jobs/{by_sdk.name}")
    body["properties"]["displayName"] = spec.name
    assert put(local, f"jobs/{spec.name}") == (version, body)


def test_a_model(local: Local, sdk: Any) -> None:
    from azure.ai.ml.entities import Model

    spec = ModelSpec(name="ours", version="1", uri="azureml://datastores/models/paths/champion/", tags={"project": "p"})
    local.client.register_model(spec)
    sdk.models.create_or_update(Model(name="sdk", version="1", path=spec.uri, type="custom_model", tags=spec.tags))
    assert put(local, "models/ours/versions/1") == put(local, "models/sdk/versions/1")


@pytest.mark.parametrize("identity_id", [None, SERVING], ids=["of the system", "of the user"])
@pytest.mark.parametrize("is_public", [True, False], ids=["public", "private"])
def test_an_endpoint_and_its_traffic(local: Local, sdk: Any, is_public: bool, identity_id: str | None) -> None:
    from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration, ManagedOnlineEndpoint

    assigned = [ManagedIdentityConfiguration(resource_id=identity_id)]
    identity = IdentityConfiguration(type="user_assigned", user_assigned_identities=assigned) if identity_id else None
    number = len(local.emulator.requests)
    name, by_sdk = f"ours-{number}", f"sdk-{number}"
    client = local.another_client(endpoint_identity_id=identity_id, endpoint_is_public=is_public)
    client.begin_endpoint(name, {"project": "p"})
    entity = ManagedOnlineEndpoint(
        name=by_sdk,
        auth_mode="aad_token",
        tags={"project": "p"},
        identity=identity,
        public_network_access=None if is_public else "Disabled",
    )
    sdk.online_endpoints.begin_create_or_update(entity)
    assert put(local, f"onlineEndpoints/{name}") == put(local, f"onlineEndpoints/{by_sdk}")
    eventually(lambda: client.begin_endpoint(name, {}))
    known = sdk.online_endpoints.get(name)
    traffics: tuple[dict[str, int], ...] = ({"blue": 0, "green": 100}, {"blue": 60, "green": 40}, {})
    for traffic in traffics:  # there are no such deployments, so only the last is accepted
        known.traffic = dict(traffic)
        with suppress(HttpResponseError):
            sdk.online_endpoints.begin_create_or_update(known)
        expected = put(local, f"onlineEndpoints/{name}")
        eventually(lambda: client.begin_endpoint(name, {}))
        with suppress(PermanentFailure):
            client.begin_traffic(name, traffic)
        found = put(local, f"onlineEndpoints/{name}")
        for _, body in (found, expected):
            del body["properties"]["properties"]  # of each change; the SDK adds who changed it and when
        assert found == expected
        assert found[1]["properties"]["publicNetworkAccess"] == ("Enabled" if is_public else "Disabled")
    client.close()


def entity_of(spec: DeploymentSpec) -> Any:
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

    return ManagedOnlineDeployment(
        name=spec.name,
        endpoint_name=spec.endpoint,
        model=spec.model,
        environment=spec.environment,
        instance_type=spec.instance_type,
        instance_count=spec.instance_count,
        environment_variables=dict(spec.environment_variables),
        tags=dict(spec.tags),
        request_settings=OnlineRequestSettings(request_timeout_ms=180_000, max_concurrent_requests_per_instance=32),
        liveness_probe=ProbeSettings(initial_delay=601, failure_threshold=10, period=30, timeout=10),
        readiness_probe=ProbeSettings(initial_delay=60, failure_threshold=21, period=30, timeout=10),
    )


def test_a_deployment(local: Local, sdk: Any) -> None:
    uri = "azureml://datastores/models/paths/champion/"
    local.client.register_model(ModelSpec(name="served", version="1", uri=uri, tags={}))
    eventually(lambda: local.client.begin_endpoint("serves", {}))
    spec = deployment("serves", "ours", "served:1", instance_count=2, environment_variables={"A": "b"}, tags={"c": "d"})
    local.client.begin_deployment(spec)
    sdk.online_deployments.begin_create_or_update(entity_of(spec.model_copy(update={"name": "sdk"})))
    assert put(local, "onlineEndpoints/serves/deployments/ours") == put(local, "onlineEndpoints/serves/deployments/sdk")
