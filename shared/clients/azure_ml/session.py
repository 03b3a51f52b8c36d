"""One connection to a workspace, shared by what implements the ports: the control plane, plain HTTP and tokens."""

import threading
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
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
_LONGEST_WAIT_S, _ALL_TRIES_S = 5, 60  # a function may take a minute
_VERSIONS: Mapping[str, str] = read_beside(__file__)["api_versions"]


class Retries(RetryPolicy[Any, Any]):
    """Leaves to the caller's own retry what Azure asks a longer wait for: azure-core sleeps as long as it is told, and
    Azure Resource Manager tells minutes (Azure docs, "Understand how Azure Resource Manager throttles requests")."""

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        return (self.get_retry_after(response) or 0) <= _LONGEST_WAIT_S and super().is_retry(settings, response)


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
        policies = [
            RequestIdPolicy(),
            UserAgentPolicy("droptune"),
            Retries(retry_total=3, retry_backoff_max=_LONGEST_WAIT_S, timeout=_ALL_TRIES_S),
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
                found = self.ask("GET", self.workspace_resource()["properties"]["discoveryUrl"])
                self._data_plane_url = str(there(found, "the discovery document")["api"]).rstrip("/")
            return self._data_plane_url

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """See `ask`; `path` is that of a resource of the workspace, and "" the workspace itself."""
        parts = path.split("/")
        kind = "deployments" if parts[2:3] == ["deployments"] else parts[0] or "workspaces"
        url = f"https://{ARM_HOST}{self.workspace.arm_id}/{path}".rstrip("/")
        return self.ask(method, url, {"api-version": _VERSIONS[kind]}, body)

    def items(self, page: dict[str, Any] | None) -> list[dict[str, Any]] | None:
        """The items of this page of a list and of those after it; None if there is no such list."""
        found: list[dict[str, Any]] = []
        while page is not None:
            found += page["value"]
            if not (url := page.get("nextLink")):
                return found
            page = self.ask("GET", url)
        return None

    def in_region(self, what: str) -> list[dict[str, Any]]:
        """The items of a list that Azure ML keeps for the region."""
        provider = f"/subscriptions/{self.workspace.subscription}/providers/Microsoft.MachineLearningServices"
        url = f"https://{ARM_HOST}{provider}/locations/{self.workspace_resource()['location']}/{what}"
        page = self.ask("GET", url, {"api-version": _VERSIONS["workspaces"]})
        return there(self.items(page), "the region")

    def ask(
        self, method: str, url: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any] | None:
        """With the management token; None for 404 but of a PUT. Raises Transient, or PermanentFailure if refused."""
        quoted = {name: quote(value, safe="") for name, value in (query or {}).items()}  # azure-core does not
        request = HttpRequest(method, self.workspace.reachable(url), params=quoted, json=body)
        with translated():
            answer = self._arm.send_request(request, enforce_https=self.workspace.emulator is None)
            if answer.status_code == 404 and method != "PUT":
                return None
            if answer.status_code >= 300:
                raise HttpResponseError(response=answer)
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
