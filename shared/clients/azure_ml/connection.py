"""How Azure ML is reached: the same `MLClient` in Azure and against the emulator on this machine."""

import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import jwt

from shared.domain.errors import InvalidInput
from shared.domain.urls import is_loopback

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

ARM_HOST = "management.azure.com"
ARM_SCOPE = f"https://{ARM_HOST}/.default"
_URL = re.compile(
    r"(?P<scheme>azureml|azureml\+http)://(?:(?P<host>[^/]+)/)?subscriptions/(?P<subscription>[^/]+)"
    r"/resourceGroups/(?P<group>[^/]+)/workspaces/(?P<workspace>[^/]+)/?"
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace, and the emulator's `http://127.0.0.1:PORT` if it is a local one."""

    subscription: str
    resource_group: str
    name: str
    emulator: str | None = None

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    def reachable(self, url: str) -> str:
        """The URL to really call: Azure's own host, or the emulator on this machine.

        Raises InvalidInput `untrusted_host`: a bearer token never goes to a host that is neither.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if self.emulator is not None:
            if host == ARM_HOST or is_loopback(url):
                here = urlsplit(self.emulator)
                target = parts.netloc if is_loopback(url) else here.netloc
                return urlunsplit(("http", target, parts.path, parts.query, ""))
        elif parts.scheme == "https" and (
            host == ARM_HOST or host.endswith((".azureml.ms", ".ml.azure.com", ".azureml.net"))
        ):
            return url
        raise InvalidInput("untrusted_host", f"refusing to send a token to {parts.scheme}://{host}")


def parse_url(url: str) -> Workspace:
    """`azureml://subscriptions/S/resourceGroups/R/workspaces/W`, or `azureml+http://127.0.0.1:PORT/...`.

    Raises InvalidInput `bad_azure_ml_url` for anything else, also for a plain-http host that is not loopback.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise InvalidInput("bad_azure_ml_url", f"not a workspace URL: {url}", "AZURE_ML_URL")
    emulator = None
    if match["scheme"] == "azureml+http":
        emulator = f"http://{match['host']}"
        if match["host"] is None or not is_loopback(emulator):
            raise InvalidInput("bad_azure_ml_url", "azureml+http is for 127.0.0.1 only", "AZURE_ML_URL")
    elif match["host"] is not None:
        raise InvalidInput("bad_azure_ml_url", "azureml:// takes no host", "AZURE_ML_URL")
    return Workspace(match["subscription"], match["group"], match["workspace"], emulator)


class LocalCredential:
    """Tokens for the emulator, signed with its secret; it checks that each service gets its own."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def get_token(self, *scopes: str, **_: Any) -> Any:
        from azure.core.credentials import AccessToken

        expires = int(time.time()) + 3600
        return AccessToken(local_token(self._secret, scopes[0].removesuffix("/.default"), expires), expires)


def local_token(secret: str, audience: str, expires: int, client_id: str = "") -> str:
    """A JWT: the SDK and azureml-mlflow read its tenant and when it expires (Unix time)."""
    return jwt.encode({"aud": audience, "tid": "local", "exp": expires, "appid": client_id}, secret)


def default_credential(workspace: Workspace, client_id: str | None, emulator_secret: str | None) -> "TokenCredential":
    """The identity of this process; for the emulator one made from its secret."""
    if workspace.emulator is not None:
        return LocalCredential(emulator_secret or secrets.token_urlsafe())  # the emulator says which it takes
    from azure.identity import DefaultAzureCredential

    credential: TokenCredential = DefaultAzureCredential(managed_identity_client_id=client_id)
    return credential


_IMPORTING = threading.Lock()


def load_sdk() -> None:
    """Import the SDK, one thread at a time: it has circular imports that two threads at once run into."""
    with _IMPORTING:
        import azure.ai.ml.entities  # noqa: F401


def make_ml_client(url: str, credential: "TokenCredential") -> "MLClient":
    """The SDK's client for a workspace URL. The only code that knows of the emulator.

    SDK source: keyword arguments of MLClient reach every generated client, so `transport` and the retry
    settings hold for all calls. Retries end well inside the minute a function may take.
    """
    load_sdk()
    _disable_sdk_extras()
    from azure.ai.ml import MLClient

    workspace = parse_url(url)
    options: dict[str, Any] = {"retry_total": 3, "retry_backoff_max": 5, "read_timeout": 60}
    if workspace.emulator is not None:
        options["transport"] = _loopback_transport(workspace)
    client = MLClient(
        credential,
        workspace.subscription,
        workspace.resource_group,
        workspace.name,
        show_progress=False,
        enable_telemetry=False,
        connection_timeout=10,
        **options,
    )
    _limit_sdk_logging()
    return client


def _loopback_transport(workspace: Workspace) -> Any:
    from azure.core.pipeline.transport import RequestsTransport

    class LoopbackTransport(RequestsTransport):  # type: ignore[misc, unused-ignore]
        """Sends what is meant for management.azure.com to the emulator.

        The URL is put back afterwards: the policies refuse bearer tokens on plain http, and a poller asks
        the original URL again.
        """

        def send(self, request: Any, **options: Any) -> Any:
            url = request.url
            request.url = workspace.reachable(url)
            try:
                return super().send(request, **options)
            finally:
                request.url = url

    return LoopbackTransport(use_env_settings=False)


def _disable_sdk_extras() -> None:
    """Switch off what the SDK does beside the call (SDK source, azure-ai-ml 1.35.2): it runs git in the
    working directory for every job, prints a dot per poll, polls from a thread of its own until a
    deployment has ended, warns of its own experimental classes and fields, and logs two lines per call.
    To know whether to warn it asks for the source of each caller, 12 ms for each job that is read or sent."""
    logging.getLogger("azure.ai.ml._schema.core.fields").setLevel(logging.ERROR)
    from azure.ai.ml._utils import _experimental
    from azure.ai.ml.operations import _job_operations, _online_deployment_operations, _online_endpoint_operations
    from azure.mgmt.core.polling.arm_polling import ARMPolling

    class StartOnly(ARMPolling):
        def finished(self) -> bool:
            return True

    jobs: Any = _job_operations
    deployments: Any = _online_deployment_operations
    endpoints: Any = _online_endpoint_operations
    experimental: Any = _experimental
    experimental._should_skip_warning = lambda: True
    jobs.get_git_properties = dict
    deployments.AzureMLPolling = endpoints.AzureMLPolling = StartOnly


def _limit_sdk_logging() -> None:
    """After the client is made, for the SDK sets levels of its own while it is. Its telemetry logger
    reports every 404 as an error; what matters of a failure is in the exception."""
    telemetry = "azure.ai.ml._telemetry"
    for name in ("azure.ai.ml", telemetry, *list(logging.root.manager.loggerDict)):
        if name.startswith("azure.ai.ml"):
            least = logging.CRITICAL if name.startswith(telemetry) else logging.WARNING
            logging.getLogger(name).setLevel(max(least, logging.getLogger(name).level))
