"""Who is asking: Entra bearer tokens checked in code, or loopback only where none is configured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from functions.http.errors import ApiError
from shared.domain.errors import InvalidInput, shortened
from shared.domain.model import MAX_PERSON
from shared.domain.urls import LOOPBACK_HOSTS
from shared.settings import load_settings

READER, OPERATOR, APPROVER = "reader", "operator", "approver"


@dataclass(frozen=True, slots=True)
class Caller:
    """Name for the audit trail, and the app roles of the token.

    `authenticated`: the name was proved. On loopback it is not: everyone there is `local`.
    """

    name: str
    roles: frozenset[str]
    authenticated: bool = True

    def is_authenticated_as(self, name: str | None) -> bool:
        """Whether this is proved to be who goes by that name; Entra's user names know no case."""
        return self.authenticated and name is not None and self.name.casefold() == name.casefold()


class Authenticator(Protocol):
    def __call__(self, request: Request) -> Caller:
        """Raises ApiError 401 or 403."""


class LoopbackAuth:
    """Accepts requests to a loopback host name; a page in a browser cannot forge that name."""

    def __call__(self, request: Request) -> Caller:
        if request.url.hostname not in LOOPBACK_HOSTS:
            raise ApiError(403, "not_loopback", "without API_AUTH_URL only this machine may ask", "host")
        if request.headers.get("origin") and urlsplit(request.headers["origin"]).hostname not in LOOPBACK_HOSTS:
            raise ApiError(403, "foreign_origin", "this origin may not use the API", "origin")
        return Caller("local", frozenset({READER, OPERATOR, APPROVER}), authenticated=False)


class EntraAuth:
    """Checks signature, issuer, audience, expiry and tenant of a bearer token."""

    def __init__(self, issuer: str, audience: str, key_of: Callable[[str], Any]) -> None:
        self._issuer, self._audience, self._key_of = issuer, audience, key_of
        self._tenant = urlsplit(issuer).path.strip("/").split("/")[0]

    def __call__(self, request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "no_token", "send an Entra access token as a bearer token", "authorization")
        try:
            claims = jwt.decode(
                token,
                self._key_of(token),
                algorithms=["RS256"],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "iss", "aud", "tid"]},
            )
        except jwt.PyJWTError as error:
            raise ApiError(401, "invalid_token", str(error), "authorization") from error
        if claims["tid"] != self._tenant:
            raise ApiError(401, "foreign_tenant", "the token is of another tenant", "authorization")
        # Entra docs, "Access token claims reference": only a user's token has `scp`; an app's names it in `azp`
        # (v2.0) or `appid` (v1.0). Those are in a user's token too, and name the program that the user has used.
        app = None if claims.get("scp") else claims.get("azp") or claims.get("appid")
        name = claims.get("preferred_username") or app or claims.get("sub", "unknown")
        return Caller(shortened(str(name), MAX_PERSON), frozenset(claims.get("roles", ())))


def make_authenticator(url: str) -> Authenticator:
    """`loopback:`, or the issuer with `?audience=`. Raises InvalidInput `bad_auth_url`."""
    if url == "loopback:":
        return LoopbackAuth()
    parts = urlsplit(url)
    audience = parse_qs(parts.query).get("audience", [""])[0]
    if parts.scheme != "https" or not audience:
        raise InvalidInput("bad_auth_url", "API_AUTH_URL must be an https issuer with ?audience=", "API_AUTH_URL")
    issuer = f"https://{parts.netloc}{parts.path}"
    tenant = parts.path.strip("/").split("/")[0]
    keys = jwt.PyJWKClient(f"https://{parts.netloc}/{tenant}/discovery/v2.0/keys")
    return EntraAuth(issuer, audience, lambda token: keys.get_signing_key_from_jwt(token).key)


@cache
def configured_authenticator() -> Authenticator:
    """The one of the setting API_AUTH_URL. Raises InvalidInput `bad_auth_url`."""
    return make_authenticator(load_settings().api_auth_url)


# In the OpenAPI document alone, so that Swagger UI and generated clients send a token; the authenticator reads it.
_BEARER = HTTPBearer(auto_error=False, description="On Azure, a Microsoft Entra ID token; on a laptop none.")


def authenticate(request: Request, _: object = Security(_BEARER)) -> Caller:
    authenticator: Authenticator = request.app.state.authenticator()
    return authenticator(request)


def may(role: str) -> Callable[..., Caller]:
    """Dependency: the caller, who holds the role."""

    def check(caller: Caller = Depends(authenticate)) -> Caller:
        if role not in caller.roles:
            raise ApiError(403, "role_needed", f"this needs the app role {role}", "authorization")
        return caller

    return check


Reader = Annotated[Caller, Depends(may(READER))]
Operator = Annotated[Caller, Depends(may(OPERATOR))]
Approver = Annotated[Caller, Depends(may(APPROVER))]
