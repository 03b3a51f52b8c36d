"""Which workspace a URL names, and whose token its calls carry: in Azure, or for the emulator on this machine."""

import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import jwt

from shared.domain.errors import InvalidInput, Transient
from shared.domain.urls import is_loopback
from shared.tls import tls_context

if TYPE_CHECKING:
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
    """A JWT: azureml-mlflow reads its tenant and when it expires (Unix time)."""
    return jwt.encode({"aud": audience, "tid": "local", "exp": expires, "appid": client_id}, secret)


def default_credential(workspace: Workspace, client_id: str | None, emulator_secret: str | None) -> "TokenCredential":
    """The identity of this process; for the emulator one made from its secret."""
    if workspace.emulator is not None:
        return LocalCredential(emulator_secret or secrets.token_urlsafe())  # the emulator says which it takes
    from azure.identity import DefaultAzureCredential

    credential: TokenCredential = DefaultAzureCredential(managed_identity_client_id=client_id)
    return credential


_TIMEOUT_S = 10.0


def azure_ml_time(azure_ml_url: str) -> datetime | None:
    """The Date header of the control plane, to the second; any answer has one, also a refusal (RFC 9110, 6.6.1).

    None if the answer has none. Raises Transient if nothing answers.
    """
    emulator = parse_url(azure_ml_url).emulator
    url = emulator or f"https://{ARM_HOST}"
    try:
        answer = httpx.head(url, verify=tls_context(), timeout=_TIMEOUT_S, trust_env=emulator is None)
    except httpx.HTTPError as error:
        raise Transient("azure_ml_unreachable", f"{type(error).__name__} at {url}") from error
    date = answer.headers.get("date")
    return parsedate_to_datetime(date) if date else None
