"""One connection to a workspace, shared by what implements the ports: the control plane, plain HTTP and tokens."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RequestIdPolicy, RetryPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from shared.clients.azure_ml.connection import ARM_HOST, ARM_SCOPE, Workspace, default_credential, parse_url
from shared.clients.azure_ml.errors import translated
from shared.domain.beside import read_beside
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.tls import tls_context

T = TypeVar("T")

_HTTP_TIMEOUT_S = 30.0
_VERSIONS: Mapping[str, str] = read_beside(__file__)["api_versions"]


class Session:
    """`url`: see `connection.parse_url`. `identity_client_id`: the user-assigned identity of this process.

    `emulator_secret`: what an emulator signs tokens with. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        credential: TokenCredential | None = None,
        *,
        identity_client_id: str | None = None,
        emulator_secret: str | None = None,
    ) -> None:
        self.workspace: Workspace = parse_url(url)
        is_azure = self.workspace.emulator is None
        self.http = httpx.Client(verify=tls_context(), timeout=_HTTP_TIMEOUT_S, trust_env=is_azure)
        self._credential = credential or default_credential(self.workspace, identity_client_id, emulator_secret)
        # Retries end well inside the minute a function may take. No policy follows a redirect.
        policies = [
            RequestIdPolicy(),
            UserAgentPolicy("droptune"),
            RetryPolicy(retry_total=3, retry_backoff_max=5),
            BearerTokenCredentialPolicy(self._credential, ARM_SCOPE),
        ]
        transport = RequestsTransport(connection_timeout=10, read_timeout=60, use_env_settings=is_azure)
        self._arm: PipelineClient[Any, Any] = PipelineClient("", policies=policies, transport=transport)
        self._lock = threading.Lock()
        self._workspace_resource: dict[str, Any] | None = None
        self._data_plane_url: str | None = None

    def close(self) -> None:
        """Give the connections back; the session is not used afterwards."""
        self.http.close()
        self._arm.close()

    def token(self, scope: str) -> str:
        with translated():
            return str(self._credential.get_token(scope).token)

    def workspace_resource(self) -> dict[str, Any]:
        """The workspace as Azure describes it, asked for once: its region, and where its discovery document is."""
        if self._workspace_resource is None:
            self._workspace_resource = there(self.call("GET", ""), "the workspace")
        return self._workspace_resource

    def data_plane(self) -> str:
        """Base URL of run history and MLflow, found as azure-ai-ml 1.35.2 finds it: the workspace names its discovery
        document, which names the regional API."""
        with self._lock:
            if self._data_plane_url is None:
                discovery = self.workspace_resource()["properties"]["discoveryUrl"]
                self._data_plane_url = str((self.ask("GET", discovery) or {})["api"]).rstrip("/")
            return self._data_plane_url

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """See `ask`; `path` is that of a resource of the workspace, and "" the workspace itself."""
        kind = "deployments" if "/deployments" in path else path.partition("/")[0]
        url = f"https://{ARM_HOST}{self.workspace.arm_id}/{path}".rstrip("/")
        return self.ask(method, url, {"api-version": _VERSIONS[kind or "workspaces"]}, body)

    def in_region(self, what: str) -> Iterator[dict[str, Any]]:
        """The items of a list that Azure ML keeps for the region, of all its pages."""
        workspace = self.workspace
        provider = f"/subscriptions/{workspace.subscription}/providers/Microsoft.MachineLearningServices"
        region = self.workspace_resource()["location"]
        url: str | None = f"https://{ARM_HOST}{provider}/locations/{region}/{what}"
        arguments = {"api-version": _VERSIONS["workspaces"]}
        while url:
            page = there(self.ask("GET", url, arguments), "the region")
            yield from page["value"]
            url, arguments = page.get("nextLink"), {}

    def ask(
        self, method: str, url: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any] | None:
        """With the management token; None for 404. Raises Transient, or PermanentFailure if refused."""
        request = HttpRequest(method, self.workspace.reachable(url), params=query, json=body)
        with translated():
            answer = self._arm.send_request(request, enforce_https=self.workspace.emulator is None)
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
        if not answer.content:
            return {}
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise Transient("azure_ml_unreachable", f"what {request.url} answered cannot be read: {error}") from error
        return found


def there(found: T | None, what: str) -> T:
    """What was found, or PermanentFailure `azure_ml_not_found`, which says what is not there."""
    if found is None:
        raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"{what} does not exist")
    return found
