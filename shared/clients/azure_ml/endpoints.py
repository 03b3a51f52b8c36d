"""Models and managed online endpoints of Azure ML behind the port ModelHost."""

import secrets
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.clients.azure_ml.connection import ARM_HOST, load_sdk
from shared.clients.azure_ml.errors import failure_class, translated
from shared.clients.azure_ml.session import Session
from shared.clients.azure_ml.wire import autoscale, lowered, managed_deployment, name_version, requests_in, short_uri
from shared.domain.errors import NO_QUOTA, FailureClass, PermanentFailure
from shared.domain.jobs import DeploymentSpec, DeploymentState, DeploymentView, EndpointView, ModelSpec


def resolves_alone(name: str, domain: str) -> bool:
    """Whether DNS knows NAME.DOMAIN but not a name that nobody has: a domain may answer any. Waits as the resolver does
    (Linux: twice 5 s for each server)."""

    def known(host: str) -> bool:
        with suppress(OSError):
            return bool(socket.getaddrinfo(f"{host}.{domain}", 443))
        return False

    return known(name) and not known(f"x{secrets.token_hex(15)}")


class AzureMlEndpoints:
    """`identity_id`: resource id of the endpoints' identity; without one an endpoint gets a system-assigned identity.

    `is_public`: false makes endpoints that answer through a private endpoint only.
    """

    def __init__(self, session: Session, *, identity_id: str | None, is_public: bool) -> None:
        self.session, self._endpoint_identity_id, self._endpoint_is_public = session, identity_id, is_public

    def register_model(self, spec: ModelSpec) -> None:
        """See ModelHost. PermanentFailure `model_version_taken` if the version has another URI."""
        load_sdk()
        from azure.ai.ml.entities import Model

        known = self.session.if_found(lambda: self.session.ml.models.get(spec.name, spec.version))
        if known is None:
            model = Model(name=spec.name, version=spec.version, path=spec.uri, type="custom_model", tags=spec.tags)
            with translated(f"the folder of model {spec.name}"):
                known = self.session.ml.models.create_or_update(model)
        if short_uri(known.path) != short_uri(spec.uri):
            message = f"model {spec.name}:{spec.version} is registered with another path"
            raise PermanentFailure(FailureClass.PLATFORM, "model_version_taken", message, "uri")

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        """See ModelHost. PermanentFailure `endpoint_failed` if its creation or a change failed."""
        load_sdk()
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        endpoint = self._get_endpoint(name)
        if endpoint is None:
            entity = ManagedOnlineEndpoint(
                name=name,
                auth_mode="aad_token",
                tags=tags,
                identity=self._endpoint_identity(),
                # Unless it is told otherwise an endpoint of a private workspace is public all the same.
                public_network_access=None if self._endpoint_is_public else "Disabled",
            )
            with translated("the workspace"):
                self.session.ml.online_endpoints.begin_create_or_update(entity)
            return False
        state = lowered(endpoint.provisioning_state)
        if state in ("failed", "canceled"):
            message = f"endpoint {name} is {state}: update it in Azure ML, or delete it if it answers nothing"
            raise PermanentFailure(FailureClass.PLATFORM, "endpoint_failed", message)
        return state == "succeeded"

    def get_endpoint(self, name: str) -> EndpointView | None:
        endpoint = self._get_endpoint(name)
        if endpoint is None:
            return None
        traffic = {key: int(value) for key, value in (endpoint.traffic or {}).items()}
        return EndpointView(
            name=name,
            scoring_uri=endpoint.scoring_uri or "",
            traffic={key: value for key, value in traffic.items() if value},
            # SDK source: it adds every deployment without traffic as 0.
            deployments=tuple(sorted(traffic)),
        )

    def is_name_taken(self, endpoint: str) -> bool:
        """See ModelHost. Azure has no request for it; an endpoint has an address of its own, which DNS tells."""
        workspace = self.session.workspace
        with translated("the workspace"):
            region = self.session.ml.workspaces.get(workspace.name).location
        return workspace.emulator is None and resolves_alone(endpoint, f"{region}.inference.ml.azure.com")

    def begin_deployment(self, spec: DeploymentSpec) -> None:
        """See ModelHost. PermanentFailure `deployment_name_taken` if it is one of another model.

        One of the same model in another environment is what a host of another version has begun for the same run.
        """
        known = self._get_deployment(spec.endpoint, spec.name)
        if known is None:
            with translated(f"endpoint {spec.endpoint}"):
                self.session.ml.online_deployments.begin_create_or_update(managed_deployment(spec))
        elif (model := name_version(known.model)) != spec.model:
            message = f"deployment {spec.name} of {spec.endpoint} exists with another model: {model}"
            raise PermanentFailure(FailureClass.PLATFORM, "deployment_name_taken", message, "model")

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        """See ModelHost. The error is that of the operation that created it, where Azure still has it."""
        deployment = self._get_deployment(endpoint, name)
        if deployment is None:
            return None
        state = lowered(deployment.provisioning_state)
        # REST reference, Online Deployments: `sku` is there for autoscale, which changes its capacity.
        fields: dict[str, Any] = {"name": name, "instances": deployment.instance_count}
        if state == "succeeded":
            return DeploymentView(state=DeploymentState.SUCCEEDED, model=name_version(deployment.model), **fields)
        if state not in ("failed", "canceled"):
            return DeploymentView(state=DeploymentState.CREATING, **fields)
        operation = (deployment.properties or {}).get("AzureAsyncOperationUri")
        error = ((self.session.ask(operation, {}) or {}).get("error") or {}) if operation else {}
        known = failure_class(error.get("code"), error.get("message"))
        return DeploymentView(
            **fields,
            state=DeploymentState.FAILED,
            error_code=NO_QUOTA if known is FailureClass.QUOTA else error.get("code"),
            error_message=error.get("message") or f"deployment {name} is {state}; see its logs",
        )

    def set_autoscale(self, spec: DeploymentSpec) -> None:
        endpoint, url = self._get_endpoint(spec.endpoint), self._autoscale_url(spec.endpoint, spec.name)
        body = endpoint and autoscale(spec, f"{endpoint.id}/deployments/{spec.name}", endpoint.location)
        if body is None or self.session.ask(url, {}, method="PUT", body=body) is None:
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"{spec.endpoint} has no {spec.name}")

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        self.session.ask(self._autoscale_url(endpoint, name), {}, method="DELETE")

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        """See ModelHost. Transient while another change of the endpoint is in progress."""
        known = self._get_endpoint(endpoint)
        if known is None:
            message = f"endpoint {endpoint} does not exist"
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", message)
        known.traffic = dict(traffic)
        with translated(f"endpoint {endpoint}"):
            self.session.ml.online_endpoints.begin_create_or_update(known)

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.session.if_found(lambda: self.session.ml.online_deployments.begin_delete(name, endpoint))

    def begin_delete_endpoint(self, name: str) -> None:
        self.session.if_found(lambda: self.session.ml.online_endpoints.begin_delete(name))

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        """See ModelHost. Azure docs, supported metrics of onlineEndpoints/deployments: of a minute without requests
        there may be no `RequestsPerMinute`. `DeploymentCapacity` shows whether Azure Monitor measures at all.
        """
        grain = "PT1M" if until - since <= timedelta(days=1) else "PT1H"
        span = "/".join(f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for time in (since, until))
        arguments = {"api-version": "2024-02-01", "aggregation": "Average", "interval": grain, "timespan": span}
        arguments["metricnames"] = "RequestsPerMinute,DeploymentCapacity"
        resource = f"{self.session.workspace.arm_id}/onlineEndpoints/{endpoint}/deployments/{deployment}"
        url = f"https://{ARM_HOST}{resource}/providers/Microsoft.Insights/metrics"
        return requests_in(self.session.ask(url, arguments) or {})

    def _autoscale_url(self, endpoint: str, name: str) -> str:
        workspace = self.session.workspace
        group = f"https://{ARM_HOST}{workspace.arm_id.split('/providers/')[0]}/providers/Microsoft.Insights"
        return f"{group}/autoscaleSettings/{workspace.name}-{endpoint}-{name}?api-version=2022-10-01"

    def _get_endpoint(self, name: str) -> Any | None:
        return self.session.if_found(lambda: self.session.ml.online_endpoints.get(name))

    def _get_deployment(self, endpoint: str, name: str) -> Any | None:
        return self.session.if_found(lambda: self.session.ml.online_deployments.get(name, endpoint))

    def _endpoint_identity(self) -> Any | None:
        if self._endpoint_identity_id is None:
            return None
        load_sdk()
        from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration

        identity = ManagedIdentityConfiguration(resource_id=self._endpoint_identity_id)
        return IdentityConfiguration(type="user_assigned", user_assigned_identities=[identity])
