"""One connection to a workspace, shared by what implements the ports: the SDK's client, plain HTTP and tokens."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError

from shared.clients.azure_ml.connection import ARM_SCOPE, Workspace, default_credential, make_ml_client, parse_url
from shared.clients.azure_ml.errors import translate, translated
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.tls import tls_context

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_HTTP_TIMEOUT_S = 30.0


class Session:
    """`url`: see `connection.parse_url`. `identity_client_id`: the user-assigned identity of this process.

    `emulator_secret`: what an emulator signs tokens with. The SDK (2 s, 110 MB) is loaded on first use. Thread-safe.
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
        self._url = url
        self._given_credential = credential
        self._identity_client_id = identity_client_id
        self._emulator_secret = emulator_secret
        self._lock = threading.RLock()
        self._credential: TokenCredential | None = None
        self._client: MLClient | None = None
        self._data_plane_url: str | None = None

    def close(self) -> None:
        """Give the connections back; the session is not used afterwards."""
        self.http.close()

    @property
    def ml(self) -> "MLClient":
        with self._lock:
            if self._client is None:
                self._client = make_ml_client(self._url, self._identity())
            return self._client

    def _identity(self) -> TokenCredential:
        with self._lock:
            if self._credential is None:
                self._credential = self._given_credential or default_credential(
                    self.workspace, self._identity_client_id, self._emulator_secret
                )
            return self._credential

    def token(self, scope: str) -> str:
        with translated("the identity"):
            return str(self._identity().get_token(scope).token)

    def data_plane(self) -> str:
        """Base URL of run history and MLflow, found as the SDK finds it: the workspace names its discovery
        document, which names the regional API."""
        with self._lock:
            if self._data_plane_url is None:
                with translated("the workspace"):
                    discovery = self.ml.workspaces.get(self.workspace.name).discovery_url
                found = self.ask(str(discovery), {}) or {}
                self._data_plane_url = str(found["api"]).rstrip("/")
            return self._data_plane_url

    def ask(self, url: str, query: Mapping[str, str], method: str = "GET", body: Any = None) -> dict[str, Any] | None:
        """With the management token; None for 404. Raises Transient, or PermanentFailure if refused."""
        headers = {"Authorization": f"Bearer {self.token(ARM_SCOPE)}"}
        target = httpx.URL(self.workspace.reachable(url)).copy_merge_params(dict(query))
        try:
            answer = self.http.request(method, target, headers=headers, json=body)
        except httpx.HTTPError as error:
            raise Transient("azure_ml_unreachable", f"{type(error).__name__} at {target.host}") from error
        if answer.status_code == 404:
            return None
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise Transient("azure_ml_busy", f"{answer.status_code} from {target.path}")
        if answer.status_code >= 300:
            message = f"{answer.status_code} from {target.path}: {answer.text[:300]}"
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", message)
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def if_found(self, call: Callable[[], Any]) -> Any | None:
        """The call's result, or None for 404."""
        try:
            return call()
        except (AzureError, ValueError, TypeError) as error:
            found = translate(error)
            if found is None:
                return None
            raise found from error
