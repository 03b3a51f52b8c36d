"""Who may do what: roles, scopes, principals; and no secret that could be read out of a template."""

import re
from collections.abc import Iterator
from typing import Any

from shared.domain.beside import read_beside
from tests.gate.bicep import BicepFile, Expr, Infra, Resource, line, source, text
from tests.gate.finding import Violations, at, rule

ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
DEFINITION = "Microsoft.Authorization/roleDefinitions"
BLOB_DATA_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
ROLES: dict[str, dict[str, Any]] = read_beside(__file__, "roles.toml")
# Azure ML docs, "Manage access to Azure Machine Learning workspaces": submitting a job (V2), beside `*/read`.
SUBMITTING = {
    f"Microsoft.MachineLearningServices/workspaces/{action}"
    for action in (
        "jobs/*", "environments/write", "environments/build/action", "environments/readSecrets/action",
        "metadata/artifacts/write", "metadata/codes/*/write",
    )
}  # fmt: skip
COSMOS_DATA_CONTRIBUTOR = "00000000-0000-0000-0000-000000000002"
_ROLE = re.compile(r"subscriptionResourceId\('Microsoft\.Authorization/roleDefinitions', (\w+)\)")
_PRINCIPAL = re.compile(r"([a-z]+)(?:PrincipalId|\.properties\.principalId)")
_METRICS_READ = "Microsoft.Insights/metrics/read"
_QUOTA_READ = re.compile(r"Microsoft\.MachineLearningServices/locations/(usages|vmSizes|mfeOperationsStatus)/read")
_AUTOSCALE = re.compile(r"Microsoft\.Insights/autoscaleSettings/(write|delete)")
_SECRET = re.compile(r"secret|password|connectionString|accountKey|sasToken", re.IGNORECASE)


@rule("roles-are-allowed")
def roles_are_allowed(infra: Infra) -> Violations:
    for file, assignment in assignments(infra):
        for role in roles_of(file, assignment):
            known = ROLES.get(role)
            if known is None:
                yield at(assignment), f"{assignment.symbol}: role {role} is not in the allow-list"
            elif not known["to"]:
                yield at(assignment), f"{assignment.symbol}: never {known['name']}"
            elif (holder := holder_of(assignment)) not in known["to"]:
                yield at(assignment), f"{assignment.symbol}: {known['name']} is not for {holder}"


@rule("roles-end-at-a-resource")
def roles_end_at_a_resource(infra: Infra) -> Violations:
    """Without a scope an assignment holds for the whole resource group, or the subscription: only to read quotas.
    Autoscale settings lie in the resource group."""
    for file, assignment in assignments(infra):
        scope = assignment.body.get("scope")
        symbol = scope.text.split("[")[0] if isinstance(scope, Expr) else None
        beyond = _AUTOSCALE if symbol == "resourceGroup()" else _QUOTA_READ if symbol is None else None
        may = beyond is not None and _gives_only(file, assignment, beyond)
        if symbol not in {resource.symbol for resource in file.resources} and not may:
            yield at(assignment), f"{assignment.symbol}: scope must be a resource of this file"


@rule("roles-go-to-services")
def roles_go_to_services(infra: Infra) -> Violations:
    for _, assignment in assignments(infra):
        kind = assignment.get("properties.principalType")
        if kind != "ServicePrincipal" and not (kind is None and holder_of(assignment) == "deployer"):
            yield at(assignment), f"{assignment.symbol}: principalType must be ServicePrincipal"


@rule("own-roles-are-narrow")
def own_roles_are_narrow(infra: Infra) -> Violations:
    for role in infra.of_type(DEFINITION):
        for permission in role.get("properties.permissions") or []:
            for action in permission.get("actions", []):
                narrow = str(action).startswith(
                    "Microsoft.MachineLearningServices/workspaces/"
                ) and not action.endswith(("workspaces/*", "*/write", "*/delete", "*/action", "listKeys/action"))
                beyond = _QUOTA_READ.fullmatch(str(action)) or _AUTOSCALE.fullmatch(str(action))
                if not narrow and action not in SUBMITTING | {_METRICS_READ} and not beyond:
                    yield at(role), f"{role.symbol}: {action} is too wide"


@rule("jobs-can-be-submitted")
def jobs_can_be_submitted(infra: Infra) -> Violations:
    for role in infra.of_type(DEFINITION):
        if role.symbol == "orchestrator":
            for action in sorted(SUBMITTING.difference(*(p["actions"] for p in role.get("properties.permissions")))):
                yield at(role), f"{role.symbol} lacks {action}"


@rule("models-are-the-importers")
def models_are_the_importers(infra: Infra) -> Violations:
    """Who writes a base model or its tokenizer decides how every project's data is read."""
    file = infra.files["modules/data-access.bicep"]
    for name, containers in file.variables.items():
        if name.endswith("Writes") and name != "deployerWrites" and "models" in containers:
            yield file.name, f"{name}: only the importer and who deploys may write models"
    for _, assignment in assignments(infra):
        on_models = assignment.file == file.name and assignment.body.get("scope") == Expr("models")
        writes = on_models and BLOB_DATA_CONTRIBUTOR in roles_of(file, assignment)
        if writes and holder_of(assignment) != "importer":
            yield at(assignment), f"{assignment.symbol}: only the importer and who deploys may write models"


@rule("cosmos-role-ends-at-the-database")
def cosmos_role_ends_at_the_database(infra: Infra) -> Violations:
    for assignment in infra.of_type("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments"):
        definition, scope = assignment.get("properties.roleDefinitionId"), assignment.get("properties.scope")
        if not source(definition).endswith(f"/sqlRoleDefinitions/{COSMOS_DATA_CONTRIBUTOR}'"):
            yield at(assignment), f"{assignment.symbol}: only Cosmos DB Built-in Data Contributor"
        if "/dbs/" not in source(scope):
            yield at(assignment), f"{assignment.symbol}: scope must be a database"


@rule("no-secrets-in-the-template")
def no_secrets_in_the_template(infra: Infra) -> Violations:
    """Parameters that hold one, defaults, outputs, and functions that fetch a key."""
    for file in infra.files.values():
        for parameter in file.params.values():
            named_so = _SECRET.search(parameter.name) and not parameter.name.endswith("Name")
            if named_so and not parameter.secure:
                yield f"{file.name}:{parameter.line}", f"{parameter.name} must be @secure()"
            if parameter.secure and not parameter.required:
                yield f"{file.name}:{parameter.line}", f"{parameter.name} is secure and has a default"
        for name, value in file.outputs.items():
            if _SECRET.search(name) or _SECRET.search(source(value)):
                yield file.name, f"output {name} would be kept in the deployment's history"
        for node in file.nodes:
            if node.type == "call_expression" and text(node.named_children[0]).startswith("list"):
                yield f"{file.name}:{line(node)}", f"{text(node.named_children[0])}() reads a key"
            if node.type == "member_expression" and re.search(r"\.list\w+$", text(node)):
                yield f"{file.name}:{line(node)}", f"{text(node)}() reads a key"


def assignments(infra: Infra) -> Iterator[tuple[BicepFile, Resource]]:
    for file in infra.files.values():
        for resource in file.resources:
            if resource.type == ASSIGNMENT and not resource.existing:
                yield file, resource


def _gives_only(file: BicepFile, assignment: Resource, allowed: re.Pattern[str]) -> bool:
    """Whether the role given is one of this file that has such actions and no others."""
    definition = source(assignment.get("properties.roleDefinitionId")).removesuffix(".id")
    actions = [
        str(action)
        for role in file.resources
        if role.type == DEFINITION and role.symbol == definition
        for permission in role.get("properties.permissions") or []
        for action in permission.get("actions", [])
    ]
    return bool(actions) and all(map(allowed.fullmatch, actions))


def roles_of(file: BicepFile, assignment: Resource) -> list[str]:
    """Ids of the roles given: one, or those the assignment loops over; none for a role of this file."""
    definition = source(assignment.get("properties.roleDefinitionId"))
    if definition.removesuffix(".id") in {r.symbol for r in file.resources if r.type == DEFINITION}:
        return []
    found = _ROLE.fullmatch(definition)
    name = found[1] if found else definition
    value = file.variables.get(name, file.variables.get(assignment.loop or "", name))
    return [str(role) for role in value] if isinstance(value, list) else [source(value)]


def holder_of(assignment: Resource) -> str:
    found = _PRINCIPAL.fullmatch(source(assignment.get("properties.principalId")))
    return found[1] if found else "unknown"
