"""Answers of Azure Resource Manager, Microsoft Graph and a container registry, in the shapes of their references, for
the real Azure CLI (tests/azure_cli/server.py). Only what the hooks ask for; everything else is a 404 that is kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.paths import ROOT

HOOKS = ROOT / "infra" / "hooks"
TENANT, OTHER_TENANT = "22222222-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
SUBSCRIPTION, OTHER_SUBSCRIPTION = "11111111-0000-0000-0000-000000000001", "11111111-0000-0000-0000-000000000002"
ME, CLIENT, APPLICATION, PRINCIPAL = (f"33333333-0000-0000-0000-00000000000{number}" for number in range(1, 5))
REGISTRY = "crabc"
_ARM, _GRAPH = "management.azure.com", "graph.microsoft.com"
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    host: str
    path: str
    query: dict[str, list[str]]
    tenant: str
    body: Any


@dataclass
class Azure:
    """One tenant with two subscriptions, and what is in them."""

    registered: set[str] = field(default_factory=set)
    flex_regions: tuple[str, ...] = ("East US", "Sweden Central")
    pythons: tuple[str, ...] = ("3.12", "3.13")
    machine_learning: tuple[str, ...] = ("East US", "West Europe")
    skus: tuple[str, ...] = ("Standard_LRS", "Standard_ZRS")
    applications: list[dict[str, Any]] = field(default_factory=list)
    principals: list[dict[str, Any]] = field(default_factory=list)
    assigned: list[dict[str, Any]] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)  # name: id of its definition
    role_assignments: dict[str, str] = field(default_factory=dict)  # id: id of the definition
    images: set[str] = field(default_factory=set)
    signed_in: bool = True
    may_assign: bool = True
    builds: bool = True
    build_requests: list[dict[str, Any]] = field(default_factory=list)
    not_yet: int = 0  # requests about a new application that Entra answers with 404
    requests: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def sent(self, method: str, path: str) -> list[Request]:
        return [one for one in self.requests if one.method == method and re.search(path, one.path)]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        for method, host, pattern, reply in _ROUTES:
            found = re.fullmatch(pattern, request.path, re.IGNORECASE)
            if (method, host) == (request.method, request.host) and found:
                return reply(self, request, *found.groups())
        self.unknown.append(f"{request.method} {request.host}{request.path}")
        return 404, {"error": {"code": "NotRecorded", "message": request.path}}


_Reply = Callable[..., Answer]
_ROUTES: list[tuple[str, str, str, _Reply]] = []


def _route(method: str, host: str, pattern: str) -> Callable[[_Reply], _Reply]:
    def register(reply: _Reply) -> _Reply:
        _ROUTES.append((method, host, pattern, reply))
        return reply

    return register


# Azure Resource Manager: Resources, Providers - List, Get, Register.
def _provider(azure: Azure, namespace: str) -> dict[str, Any]:
    kinds = [{"resourceType": "workspaces", "locations": list(azure.machine_learning), "apiVersions": []}]
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": "Registered" if namespace.lower() in azure.registered else "NotRegistered",
        "resourceTypes": kinds if namespace == "Microsoft.MachineLearningServices" else [],
    }


@_route("GET", _ARM, f"/subscriptions/{SUBSCRIPTION}/providers")
def _providers(azure: Azure, _: Request) -> Answer:
    return 200, {"value": [_provider(azure, one) for one in sorted(azure.registered)]}


@_route("GET", _ARM, f"/subscriptions/{SUBSCRIPTION}/providers/([^/]+)")
def _one_provider(azure: Azure, _: Request, namespace: str) -> Answer:
    return 200, _provider(azure, namespace)


@_route("POST", _ARM, f"/subscriptions/{SUBSCRIPTION}/providers/([^/]+)/register")
def _register(azure: Azure, _: Request, namespace: str) -> Answer:
    azure.registered.add(namespace.lower())
    return 200, _provider(azure, namespace)


# App Service: Web Apps - List Geo Regions; Provider - Get Function App Stacks.
@_route("GET", _ARM, f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Web/geoRegions")
def _regions(azure: Azure, _: Request) -> Answer:
    return 200, {"value": [{"name": one, "properties": {"name": one, "orgDomain": ""}} for one in azure.flex_regions]}


@_route("GET", _ARM, r"/+providers/Microsoft.Web/locations/[^/]+/functionAppStacks")
def _stacks(azure: Azure, _: Request) -> Answer:
    def minor(version: str) -> dict[str, Any]:
        settings = {
            "appSettingsDictionary": {"FUNCTIONS_WORKER_RUNTIME": "python"},
            "Sku": [{"skuCode": "FC1", "functionAppConfigProperties": {}}],
            "gitHubActionSettings": {"isSupported": True, "supportedVersion": version},
            "appInsightsSettings": {"isSupported": True},
        }
        return {"value": version, "stackSettings": {"linuxRuntimeSettings": settings}}

    majors = [{"value": "3", "minorVersions": [minor(version) for version in azure.pythons]}]
    return 200, {"value": [{"name": "python", "properties": {"majorVersions": majors}}]}


# Storage: Skus - List.
@_route("GET", _ARM, f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/skus")
def _skus(azure: Azure, _: Request) -> Answer:
    kind = {"resourceType": "storageAccounts", "kind": "StorageV2", "locations": ["eastus"], "restrictions": []}
    return 200, {"value": [{**kind, "name": name, "tier": "Standard"} for name in azure.skus]}


# Authorization: Role Definitions - List, Delete; Role Assignments - List For Scope, Delete By Id.
@_route("GET", _ARM, r"/subscriptions/.*/providers/Microsoft.Authorization/roleDefinitions")
def _definitions(azure: Azure, request: Request) -> Answer:
    """Those that are applicable at the scope, so also those defined above it."""
    scope = request.path.partition("/providers/Microsoft.Authorization/")[0]
    name_filter = re.fullmatch(r"roleName eq '(.*)'", request.query.get("$filter", [""])[0])
    found = []
    for name, one in azure.roles.items():
        defined, _, own = one.partition("/providers/Microsoft.Authorization/roleDefinitions/")
        if scope.startswith(defined) and (name_filter is None or name_filter[1] == name):
            properties = {"roleName": name, "type": "CustomRole", "permissions": [], "assignableScopes": [defined]}
            kind = "Microsoft.Authorization/roleDefinitions"
            found.append({"id": one, "name": own, "type": kind, "properties": properties})
    return 200, {"value": found}


@_route("DELETE", _ARM, r"(/subscriptions/.*/providers/Microsoft.Authorization/roleDefinitions/.*)")
def _delete_definition(azure: Azure, _: Request, definition: str) -> Answer:
    if definition in azure.role_assignments.values():
        return 400, {
            "error": {"code": "RoleDefinitionHasAssignments", "message": "There are existing role assignments"}
        }
    azure.roles = {name: one for name, one in azure.roles.items() if one != definition}
    return 200, {"id": definition, "name": "", "properties": {}}


@_route("GET", _ARM, r"(/subscriptions/.*)/providers/Microsoft.Authorization/roleAssignments")
def _assignments(azure: Azure, _: Request, scope: str) -> Answer:
    found = [
        {"id": one, "name": one.rsplit("/", 1)[1], "type": "Microsoft.Authorization/roleAssignments",
         "properties": {"roleDefinitionId": definition, "principalId": ME, "principalType": "ServicePrincipal",
                        "scope": one.partition("/providers/Microsoft.Authorization/")[0]}}
        for one, definition in azure.role_assignments.items()
        if one.startswith(scope)
    ]  # fmt: skip
    return 200, {"value": found}


@_route("DELETE", _ARM, r"(/subscriptions/.*/providers/Microsoft.Authorization/roleAssignments/.*)")
def _delete_assignment(azure: Azure, _: Request, assignment: str) -> Answer:
    definition = azure.role_assignments.pop(assignment)
    return 200, {"id": assignment, "properties": {"roleDefinitionId": definition}}


# Microsoft Graph v1.0: application, servicePrincipal, appRoleAssignment.
def _absent(what: str) -> Answer:
    return 404, {"error": {"code": "Request_ResourceNotFound", "message": f"Resource '{what}' does not exist."}}


def _filtered(request: Request, objects: list[dict[str, Any]]) -> Answer:
    """`$filter` by equality or by the beginning of a name, which is all that the CLI asks for."""
    expression = request.query["$filter"][0]
    if found := re.fullmatch(r"(\w+) eq '(.*)'", expression):
        return 200, {"value": [one for one in objects if one.get(found[1]) == found[2]]}
    if found := re.fullmatch(r"startswith\((\w+),'(.*)'\)", expression):
        return 200, {"value": [one for one in objects if one.get(found[1], "").startswith(found[2])]}
    if found := re.fullmatch(r"servicePrincipalNames/any\(c:c eq '(.*)'\)", expression):
        return 200, {"value": [one for one in objects if found[1] in one["servicePrincipalNames"]]}
    return 400, {"error": {"code": "Request_UnsupportedQuery", "message": f"Unsupported query: {expression}"}}


@_route("GET", _GRAPH, "/v1.0/applications")
def _list_applications(azure: Azure, request: Request) -> Answer:
    return _filtered(request, azure.applications)


@_route("POST", _GRAPH, "/v1.0/applications")
def _create_application(azure: Azure, request: Request) -> Answer:
    azure.applications.append({**request.body, "id": APPLICATION, "appId": CLIENT})
    return 201, azure.applications[-1]


@_route("GET", _GRAPH, "/v1.0/applications/(.*)")
def _application(azure: Azure, _: Request, object_id: str) -> Answer:
    return next(((200, one) for one in azure.applications if one["id"] == object_id), _absent(object_id))


@_route("PATCH", _GRAPH, "/v1.0/applications/(.*)")
def _change_application(azure: Azure, request: Request, object_id: str) -> Answer:
    if azure.not_yet:
        azure.not_yet -= 1
        return _absent(object_id)
    (one,) = (one for one in azure.applications if one["id"] == object_id)
    one |= {**request.body, "api": {**one.get("api", {}), **request.body.get("api", {})}}
    return 204, None


@_route("DELETE", _GRAPH, "/v1.0/applications/(.*)")
def _delete_application(azure: Azure, _: Request, object_id: str) -> Answer:
    azure.applications = [one for one in azure.applications if one["id"] != object_id]
    return 204, None


@_route("GET", _GRAPH, "/v1.0/servicePrincipals")
def _list_principals(azure: Azure, request: Request) -> Answer:
    return _filtered(request, azure.principals)


@_route("POST", _GRAPH, "/v1.0/servicePrincipals")
def _create_principal(azure: Azure, request: Request) -> Answer:
    azure.principals.append({**request.body, "id": PRINCIPAL, "servicePrincipalNames": [request.body["appId"]]})
    return 201, azure.principals[-1]


@_route("GET", _GRAPH, "/v1.0/servicePrincipals/([^/]*)")
def _principal(azure: Azure, _: Request, object_id: str) -> Answer:
    return next(((200, one) for one in azure.principals if one["id"] == object_id), _absent(object_id))


@_route("PATCH", _GRAPH, "/v1.0/servicePrincipals/([^/]*)")
def _change_principal(azure: Azure, request: Request, object_id: str) -> Answer:
    (one,) = (one for one in azure.principals if one["id"] == object_id)
    one |= request.body
    return 204, None


@_route("GET", _GRAPH, "/v1.0/servicePrincipals/([^/]*)/appRoleAssignedTo")
def _assigned(azure: Azure, _: Request, __: str) -> Answer:
    return 200, {"value": azure.assigned}


@_route("POST", _GRAPH, "/v1.0/servicePrincipals/([^/]*)/appRoleAssignedTo")
def _assign(azure: Azure, request: Request, _: str) -> Answer:
    if not azure.may_assign:
        return 403, {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges"}}
    azure.assigned.append({"id": f"assignment-{len(azure.assigned)}", **request.body})
    return 201, azure.assigned[-1]


@_route("GET", _GRAPH, "/v1.0/me")
def _me(azure: Azure, _: Request) -> Answer:
    if not azure.signed_in:
        return 400, {
            "error": {"code": "BadRequest", "message": "/me request is only valid with delegated authentication"}
        }
    return 200, {"id": ME, "userPrincipalName": "me@example.org"}


# Container Registry: its token flow (repository Azure/acr, page AAD-OAuth), a tag, and a build.
_HOST = f"{REGISTRY}.azurecr.io"
_REGISTRY_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-test/providers/Microsoft.ContainerRegistry/registries/{REGISTRY}"
)


@_route("GET", _HOST, "/v2/")
def _challenge(_: Azure, __: Request) -> Answer:
    return 401, None, {"WWW-Authenticate": f'Bearer realm="https://{_HOST}/oauth2/token",service="{_HOST}"'}


@_route("POST", _HOST, "/oauth2/exchange")
def _exchange(_: Azure, __: Request) -> Answer:
    return 200, {"refresh_token": "refresh"}


@_route("POST", _HOST, "/oauth2/token")
def _token(_: Azure, __: Request) -> Answer:
    return 200, {"access_token": "access"}


@_route("GET", _HOST, "/acr/v1/([^/]+)/_(?:tags|manifests)/([^/]+)")
def _tag(azure: Azure, _: Request, name: str, version: str) -> Answer:
    if f"{name}:{version}" not in azure.images:
        return 404, {"errors": [{"code": "TAG_UNKNOWN", "message": "the specified tag does not exist"}]}
    return 200, {"registry": _HOST, "imageName": name, "tag": {"name": version, "digest": "sha256:0"}}


@_route("GET", _ARM, f"/subscriptions/{SUBSCRIPTION}/resources")
def _resources(_: Azure, __: Request) -> Answer:
    kind = {"type": "Microsoft.ContainerRegistry/registries", "location": "eastus"}
    return 200, {"value": [{"id": _REGISTRY_ID, "name": REGISTRY, **kind}]}


@_route("GET", _ARM, _REGISTRY_ID)
def _registry(_: Azure, __: Request) -> Answer:
    properties = {"loginServer": _HOST, "adminUserEnabled": False, "provisioningState": "Succeeded"}
    return 200, {
        "id": _REGISTRY_ID,
        "name": REGISTRY,
        "location": "eastus",
        "sku": {"name": "Basic"},
        "properties": properties,
    }


@_route("POST", _ARM, f"{_REGISTRY_ID}/listBuildSourceUploadUrl")
def _upload_url(_: Azure, __: Request) -> Answer:
    return 200, {
        "uploadUrl": "https://acrupload.blob.core.windows.net/source/tar.gz?sig=x",
        "relativePath": "source/tar.gz",
    }


@_route("PUT", "acrupload.blob.core.windows.net", "/source/tar.gz")
def _upload(_: Azure, __: Request) -> Answer:
    return (
        201,
        None,
        {"ETag": '"1"', "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT", "x-ms-request-server-encrypted": "true"},
    )


def _run_of(azure: Azure, request: Request | None) -> dict[str, Any]:
    if request is not None:
        azure.build_requests.append(request.body)
        if azure.builds:
            azure.images |= set(request.body["imageNames"])
    properties = {"runId": "ca1", "status": "Succeeded" if azure.builds else "Failed", "provisioningState": "Succeeded"}
    return {"id": f"{_REGISTRY_ID}/runs/ca1", "name": "ca1", "properties": properties}


@_route("POST", _ARM, f"{_REGISTRY_ID}/scheduleRun")
def _schedule(azure: Azure, request: Request) -> Answer:
    return 200, _run_of(azure, request)


@_route("GET", _ARM, f"{_REGISTRY_ID}/runs/ca1")
def _run(azure: Azure, _: Request) -> Answer:
    return 200, _run_of(azure, None)


@_route("POST", _ARM, f"{_REGISTRY_ID}/runs/ca1/listLogSasUrl")
def _log_url(_: Azure, __: Request) -> Answer:
    return 200, {"logLink": "https://acrlogs.blob.core.windows.net/logs/ca1.log?sig=x"}


# The log says in its metadata that the build is over.
@_route("HEAD", "acrlogs.blob.core.windows.net", "/logs/ca1.log")
def _log(azure: Azure, _: Request) -> Answer:
    end = "successful" if azure.builds else "failed"
    return 200, None, {"x-ms-meta-Complete": end, "x-ms-blob-type": "AppendBlob", "x-ms-request-id": "1"}


@dataclass
class Cli:
    """The hooks run with the real CLI against recorded answers."""

    azure: Azure
    place: Path
    profile: Path

    def sign_in(self, *subscriptions: tuple[str, str], user: str = "me@example.org") -> None:
        """What `az login` leaves (azure-cli, core/_profile.py): the first subscription is the CLI's default."""
        known = [
            {"id": one, "name": one, "state": "Enabled", "tenantId": tenant, "homeTenantId": tenant,
             "isDefault": not number, "environmentName": "AzureCloud", "managedByTenants": [],
             "user": {"name": user, "type": "user"}}
            for number, (one, tenant) in enumerate(subscriptions)
        ]  # fmt: skip
        self.profile.write_text(json.dumps({"installationId": "test", "subscriptions": known}))

    def run(self, hook: str, **environ: str) -> subprocess.CompletedProcess[str]:
        known = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "PLACE": str(self.place),
            "AZURE_ENV_NAME": "test",
        }
        given = {**known, "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION, "AZURE_LOCATION": "eastus", **environ}
        return subprocess.run([HOOKS / hook], env=given, cwd="/", capture_output=True, text=True)

    def noted(self, program: str) -> list[str]:
        """Calls of a program that stands in for another one, by their arguments."""
        file = self.place / program
        return file.read_text().splitlines() if file.exists() else []

    def remembered(self) -> dict[str, str]:
        """What the hook had azd remember."""
        return dict(line.removeprefix("env set ").split(" ", 1) for line in self.noted("azd"))


class _Handler(BaseHTTPRequestHandler):
    azure: Azure

    def answer(self) -> None:
        meant = urlsplit(self.headers["Meant"])
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw and "json" in self.headers.get("Content-Type", "") else raw
        tenant = self.headers.get("Authorization", "").removeprefix("Bearer of-")
        request = Request(self.command, meant.netloc, unquote(meant.path), parse_qs(meant.query), tenant, body)
        status, content, *headers = self.server.azure.answer(request)  # type: ignore[attr-defined]
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers[0] if headers else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def log_message(self, *_: Any) -> None:
        pass


class Answers(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.azure = Azure()
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()
