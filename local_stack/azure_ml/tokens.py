"""Who may use the emulator: bearer tokens signed with its secret, and requests that no web page of another site made.

Loopback alone protects nothing: another user of the machine reaches it, and so does a page in the user's browser, with
a form or a script (CSRF), or under a name of its own that resolves to 127.0.0.1 (DNS rebinding).
"""

import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from local_stack.azure_ml.strict import ArmError
from shared.clients.azure_ml.connection import local_token

ARM_AUDIENCE = "https://management.azure.com"
SCORING_AUDIENCE = "https://ml.azure.com"
JOB_TOKEN_LIFETIME_S = 30 * 24 * 3600
# Stands for a client id: Azure ML gives a run a token of its own, whatever identity the job has (azureml-pipeline-steps
# on PyPI, DatabricksStep: AZUREML_RUN_TOKEN).
RUN_TOKEN = "a run"  # noqa: S105  # no token
SECRET_FILE = "secret"  # noqa: S105  # its name


def load_secret(root: Path) -> str:
    """The secret of the emulator whose state is in `root`, made at first; only its owner can read the file."""
    file = root / SECRET_FILE
    if not file.exists():
        root.mkdir(parents=True, exist_ok=True)
        partial = root / f".{SECRET_FILE}.{os.getpid()}"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
            output.write(secrets.token_urlsafe(32))
        partial.rename(file)
    return file.read_text()


def job_token(secret: str) -> str:
    """What a job's MLflow client shows."""
    return local_token(secret, ARM_AUDIENCE, int(time.time()) + JOB_TOKEN_LIFETIME_S, RUN_TOKEN)


def managed_identity(url: str, secret: str, identity: dict[str, Any] | None) -> dict[str, str]:
    """Variables of a job: what azure-identity looks for (its source, "Azure ML managed identity"), and the client id
    (Microsoft Learn, "Set up authentication between Azure Machine Learning and other services")."""
    named = {"DEFAULT_IDENTITY_CLIENT_ID": identity["clientId"]} if identity and identity.get("clientId") else {}
    return {"MSI_ENDPOINT": f"{url}/msi/token", "MSI_SECRET": secret, **named}


def identity_token(arguments: Mapping[str, str], given: str | None, secret: str) -> dict[str, Any]:
    """The answer msal 1.39 reads: a token, and when it ends in Unix time. ArmError for what msal would not send."""
    if not _equal(given or "", secret):
        raise ArmError(401, "Unauthorized", "the secret of MSI_SECRET is needed")
    if arguments.get("api-version") != "2017-09-01" or not arguments.get("resource"):
        raise ArmError(400, "BadRequest", "api-version 2017-09-01 and a resource are needed")
    resource, ends = arguments["resource"], int(time.time()) + 24 * 3600
    token = local_token(secret, resource, ends, arguments.get("clientid", ""))
    return {"access_token": token, "expires_on": str(ends), "resource": resource, "token_type": "Bearer"}


def check_origin(headers: Mapping[str, str], port: int) -> None:
    """Raises ArmError 403 for a request under another name than ours, or from a page of another site."""
    ours = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if headers.get("host") not in ours:
        raise ArmError(403, "HostNotAllowed", "the Host header must name this emulator")
    if (origin := headers.get("origin")) is not None and origin not in {f"http://{name}" for name in ours}:
        raise ArmError(403, "OriginNotAllowed", "requests from pages of other sites are refused")


def check_bearer(header: str | None, audience: str | None, secret: str) -> str:
    """Client id of the identity whose token it is, empty if it has none.

    Raises ArmError 401 unless a bearer token was signed with our secret, for `audience` (None: any), and is valid.

    The secret itself is taken too, for a person with curl.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ArmError(401, "AuthenticationFailed", "a bearer token is needed")
    if _equal(token, secret):
        return ""
    try:
        expected = (audience, f"{audience}/") if audience else None
        claims = jwt.decode(token, secret, ["HS256"], {"verify_aud": audience is not None}, audience=expected)
        return str(claims.get("appid", ""))
    except jwt.ExpiredSignatureError:
        raise ArmError(401, "ExpiredAuthenticationToken", "the token has expired") from None
    except jwt.InvalidAudienceError:
        raise ArmError(401, "InvalidAuthenticationTokenAudience", f"the token is not for {audience}") from None
    except jwt.InvalidTokenError:
        message = "not signed with this emulator's secret (AZURE_ML_SECRET)"
        raise ArmError(401, "InvalidAuthenticationToken", message) from None


def _equal(given: str, expected: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())
