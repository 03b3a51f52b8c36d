"""Bearer tokens for the emulator: unsigned, but one for the wrong service is refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from local_stack.azure_ml.strict import ArmError

ARM_AUDIENCE = "https://management.azure.com"
SCORING_AUDIENCE = "https://ml.azure.com"
MSI_SECRET = "local"  # noqa: S105  # opens nothing but this emulator


def local_token(audience: str, lifetime_s: int = 30 * 24 * 3600) -> str:
    """A JWT as azureml-mlflow wants one (it reads `exp`)."""
    claims = {"aud": audience, "tid": "local", "exp": int(time.time()) + lifetime_s}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"unsigned").rstrip(b"=").decode()])


def managed_identity(url: str, identity: dict[str, Any] | None) -> dict[str, str]:
    """Variables of a job: what azure-identity looks for (its source, "Azure ML managed identity"), and the client id
    (Microsoft Learn, "Set up authentication between Azure Machine Learning and other services")."""
    named = {"DEFAULT_IDENTITY_CLIENT_ID": identity["clientId"]} if identity and identity.get("clientId") else {}
    return {"MSI_ENDPOINT": f"{url}/msi/token", "MSI_SECRET": MSI_SECRET, **named}


def identity_token(arguments: Mapping[str, str], secret: str | None) -> dict[str, Any]:
    """The answer msal 1.39 reads: a token, and when it ends in Unix time. ArmError for what msal would not send."""
    if secret != MSI_SECRET:
        raise ArmError(401, "Unauthorized", "the secret of MSI_SECRET is needed")
    if arguments.get("api-version") != "2017-09-01" or not arguments.get("resource"):
        raise ArmError(400, "BadRequest", "api-version 2017-09-01 and a resource are needed")
    resource, ends = arguments["resource"], int(time.time()) + 24 * 3600
    token = local_token(resource, 24 * 3600)
    return {"access_token": token, "expires_on": str(ends), "resource": resource, "token_type": "Bearer"}


def check_bearer(header: str | None, audience: str) -> None:
    """Raises ArmError 401 without a bearer token, or with one whose audience is another service."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ArmError(401, "AuthenticationFailed", "a bearer token is needed")
    claimed = _audience(token)
    if claimed is not None and claimed.rstrip("/") != audience:
        raise ArmError(401, "InvalidAuthenticationTokenAudience", f"the token is for {claimed}, not {audience}")


def _audience(token: str) -> str | None:
    """None for a token that is no JWT: a person with curl may send any."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["aud"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None
