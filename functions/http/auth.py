"""What a route asks for: who is asking, by an Entra bearer token checked in code, or loopback only where none is
configured; and the services of the app that it belongs to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from functions.http.errors import ApiError, Found, existing
from shared.domain.errors import InvalidInput, shortened
from shared.domain.model import MAX_PERSON
from shared.domain.policy import APP_ROLES, PlatformPolicy
from shared.domain.recipe import is_name
from shared.domain.urls import LOOPBACK_HOSTS
from shared.ports import Services
from shared.records import inbound, policies
from shared.records.uploads import Uploaders
from shared.runner import Runner
from shared.settings import load_settings

READER, OPERATOR, APPROVER, ADMINISTRATOR = APP_ROLES
OWNER = "owner"  # of a project that the policy has; of all else it is the administrators
# On a laptop everyone is who they say they are, for trying out what needs a second person or another's rights.
LOCAL_USER = "x-droptune-user"
CALLER = "droptune.caller"  # of a request's scope
INTAKE = "/api/intake/"  # what is below asks for a key of the project that follows, and for nothing else
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")  # RFC 7239, and what was before it


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or an app. `id` never changes (Entra: the claim `oid`) and decides; the name is for people to read."""

    name: str
    roles: frozenset[str]
    id: str = ""
    groups: frozenset[str] = frozenset()
    is_person: bool = True
    key_of: str | None = None  # the project whose intake key it has sent

    @property
    def names(self) -> frozenset[str]:
        """What a policy may call it."""
        # An id that is called as a role is none, and a group no person: Entra can emit the names of groups.
        return self.roles | ({self.id, *(f"group:{one}" for one in self.groups)} - set(APP_ROLES))

    @property
    def person_id(self) -> str:
        """Whom four eyes know it as. Empty for an app: which person has it do what it does, nobody knows."""
        return self.id if self.is_person else ""

    @property
    def uploader(self) -> Uploaders | None:
        """Whose what it uploads is; None is nobody known."""
        return Uploaders(self.name, (self.id,)) if self.person_id else None


@dataclass(frozen=True)
class Access:
    """A caller in the role that a route needs. Where the policy has a project, its members are those it names; the app
    roles count for every other one, and for what is of no project (None)."""

    caller: Caller
    role: str
    read_policy: Callable[[], PlatformPolicy]

    @cached_property
    def policy(self) -> PlatformPolicy:
        """Read when it is asked for: an app that cannot build its services says so to who may know."""
        return self.read_policy()

    def allows(self, project: str | None) -> bool:
        if self.caller.key_of is not None:
            return project == self.caller.key_of and self.role == OPERATOR
        if ADMINISTRATOR in self.caller.roles and self.role != APPROVER:
            return True
        return bool(self.policy.membership(project, self.role, self.caller.names))

    def somewhere(self) -> bool:
        return self.allows(self.caller.key_of) or any(map(self.allows, self.policy.projects))

    def hides(self, project: str | None) -> bool:
        """Whether what is of it is answered as if it was not there: the caller may neither read nor use it."""
        return not self.allows(project) and not replace(self, role=READER).allows(project)

    def existing(self, value: Found | None, code: str, message: str, param: str, project: str | None) -> Found:
        """The value, which is of the project. Raises ApiError 404, also if the project is hidden, and 403."""
        value = existing(None if self.hides(project) else value, code, message, param)
        self.require(project)
        return value

    def require(self, project: str | None, param: str = "project") -> None:
        """Raises ApiError 403."""
        if not self.allows(project):
            raise ApiError(403, "role_needed", f"this needs the role {self.role} in {project or 'the app'}", param)


Authenticator = Callable[[Request], Caller]  # raises ApiError 401 or 403


class LoopbackAuth:
    """Accepts requests of this machine to a loopback host name; a page in a browser cannot forge that name, and another
    page of this machine is at another port."""

    def __call__(self, request: Request) -> Caller:
        [host, *more], headers = request.headers.getlist("host") or [""], request.headers
        # Azure Functions tells no address of a client; whoever is behind a proxy is another machine.
        is_remote = request.client is not None and request.client.host not in LOOPBACK_HOSTS
        is_remote |= any(name in headers for name in _OF_PROXIES)
        if more or is_remote or _hostname(host) not in LOOPBACK_HOSTS:
            raise ApiError(403, "not_loopback", "without API_AUTH_URL only this machine may ask", "host")
        if headers.get("origin", own := f"{request.scope.get('scheme', 'http')}://{host}").lower() != own.lower():
            raise ApiError(403, "foreign_origin", "this origin may not use the API", "origin")
        roles = frozenset({READER, OPERATOR, APPROVER})
        name = shortened(request.headers.get(LOCAL_USER) or "local", MAX_PERSON)
        return Caller(name, roles | {ADMINISTRATOR} if name == "local" else roles, id=name)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


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
        except jwt.PyJWKClientConnectionError as error:
            message = "the keys of the issuer cannot be read now"
            raise ApiError(503, "keys_unreachable", message, "authorization") from error
        except jwt.PyJWTError as error:
            raise ApiError(401, "invalid_token", str(error), "authorization") from error
        if claims["tid"] != self._tenant:
            raise ApiError(401, "foreign_tenant", "the token is of another tenant", "authorization")
        # Entra docs, "Optional claims reference": `idtyp` is the most accurate, where an API has asked for it: `app`,
        # `user` or `device`. Else "Access token claims reference": only a user's token has `scp`; an app's names it in
        # `azp` (v2.0) or `appid` (v1.0). Those are in a user's token too, and name the program that the user has used.
        is_user = claims.get("idtyp", "user" if claims.get("scp") else "app") == "user"
        app = None if is_user else claims.get("azp") or claims.get("appid")
        name = claims.get("preferred_username") or app or claims.get("sub", "unknown")
        # Microsoft: never authorize by a name, which may change hands. An app's `oid` is that of its service principal.
        # A user's token may lack it (it comes with the scope `profile`): known by `sub` too, one person would be two.
        id, is_person = str(claims.get("oid") or claims.get("sub") or ""), is_user and bool(claims.get("oid"))
        groups = _texts(claims, "groups")
        return Caller(shortened(str(name), MAX_PERSON), _texts(claims, "roles"), id, groups, is_person)


def _texts(claims: dict[str, Any], name: str) -> frozenset[str]:
    values = claims.get(name)
    return frozenset(one for one in values if isinstance(one, str)) if isinstance(values, list) else frozenset()


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
    by_key = request.scope["path"].startswith(INTAKE)
    authenticator: Authenticator = _by_intake_key if by_key else request.app.state.authenticator()
    request.scope[CALLER] = caller = authenticator(request)
    return caller


def _by_intake_key(request: Request) -> Caller:
    """In the header or the query: HTTP 1.1 Web Hooks for Event Delivery (CloudEvents), section 3. No log has it: Azure
    Functions leaves queries out of its telemetry (ApplicationInsightsLoggerOptions, `EnableQueryStringTracing`)."""
    project, services = request.scope["path"].removeprefix(INTAKE), request.app.state.services
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    text = text if scheme.lower() == "bearer" else request.query_params.get("access_token", "")
    if not text:
        raise ApiError(401, "no_token", "send an intake key as ?access_token= or a bearer token", "access_token")
    if not is_name(project) or not inbound.is_valid(services().store, project, text, services().clock.now()):
        raise ApiError(401, "invalid_token", "it is no valid intake key of this project", "access_token")
    return Caller(f"intake key of {project}", frozenset(), f"intake:{project}", is_person=False, key_of=project)


def may(role: str) -> Callable[..., Access]:
    """Dependency: the caller, who holds the role in the app or in a project. The route asks for the project's."""

    def check(request: Request, caller: Caller = Depends(authenticate)) -> Access:
        access = Access(caller, role, lambda: policies.read(request.app.state.services().store).policy)
        if not access.somewhere():
            message = f"this needs the role {role} in the app, or in a project"
            raise ApiError(403, "role_needed", message, "authorization")
        return access

    return check


Reader = Annotated[Access, Depends(may(READER))]
Operator = Annotated[Access, Depends(may(OPERATOR))]
Approver = Annotated[Access, Depends(may(APPROVER))]
Owner = Annotated[Access, Depends(may(OWNER))]
Administrator = Annotated[Access, Depends(may(ADMINISTRATOR))]


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services()
    return services


def get_runner(request: Request) -> Runner:
    return Runner(get_services(request))


# A route names these after its caller: dependencies are solved in order, so the app builds nothing for a caller
# without a role.
CurrentServices = Annotated[Services, Depends(get_services)]
CurrentRunner = Annotated[Runner, Depends(get_runner)]
