"""What each identity may do in Azure beside what is done: nothing missing, and nothing unused that nobody reviewed.

Done is what `infra/operations.json` has, recorded by `tests/stack/test_operations.py`, and in `operations.toml` what
Azure's own parts do in the name of our identities; it also has the unused and the wide rights that are accepted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from shared.domain.beside import read_beside
from tests.gate.access import COSMOS_DATA_CONTRIBUTOR, DEFINITION, ROLES, assignments, holder_of, roles_of
from tests.gate.bicep import BicepFile, Infra, Resource, source
from tests.gate.finding import Violations, rule

FILE = "operations.json"
DATA: dict[str, Any] = read_beside(__file__)


@dataclass(frozen=True, slots=True)
class Operation:
    """`scope` is a name of `operations.toml`; a right at `data` would hold at `data/runs` too."""

    identity: str
    operation: str
    scope: str


@dataclass(frozen=True, slots=True)
class Right:
    """An action of a role, wildcards and all, that an identity has at a scope."""

    identity: str
    role: str
    action: str
    scope: str

    def allows(self, done: Operation) -> bool:
        within = f"{done.scope}/".startswith(f"{self.scope}/") or self.scope == "subscription"
        same = self.identity == done.identity and within
        return same and fnmatchcase(done.operation.lower(), self.action.lower())

    @property
    def is_wide(self) -> bool:
        """Whether it allows changes that nobody named."""
        return "*" in self.action and not self.action.endswith("/read")

    def is_in(self, reviewed: dict[str, Any]) -> bool:
        """Whether an entry of the reviewed list is about it; an identity or a scope that it does not name is any."""
        named = all(getattr(self, name) in reviewed.get(name, [getattr(self, name)]) for name in ("identity", "scope"))
        return named and self.role == reviewed["role"] and self.action in reviewed["actions"]


@rule("operations-are-allowed")
def operations_are_allowed(infra: Infra) -> Violations:
    rights = list(rights_of(infra))
    for done in operations(infra):
        if not any(right.allows(done) for right in rights):
            yield FILE, f"{done.identity} may not {done.operation} at {done.scope}"


@rule("rights-are-used")
def rights_are_used(infra: Infra) -> Violations:
    found = surplus(infra)
    for right in found:
        if not any(right.is_in(entry) for entry in DATA["reviewed"]):
            what = "is wider than what is done" if right.is_wide else "is not used"
            yield FILE, f"{right.action} of {right.identity} at {right.scope} {what} ({right.role})"
    for entry in DATA["reviewed"]:
        for action in entry["actions"]:
            if not any(right.action == action and right.is_in(entry) for right in found):
                yield "operations.toml", f"{action} of {entry['role']} is reviewed, and is used or not given"


def surplus(infra: Infra) -> list[Right]:
    """Rights that nobody uses, or that are wide."""
    done = operations(infra)
    return [one for one in rights_of(infra) if one.is_wide or not any(one.allows(operation) for operation in done)]


def summary(infra: Infra) -> str:
    """In one line, where both rules are kept."""
    done, rights, extra = len(operations(infra)), len(list(rights_of(infra))), len(surplus(infra))
    return f"{done} operations, 0 missing; {rights} rights, {extra} unused or wide for {len(DATA['reviewed'])} reasons"


def operations(infra: Infra) -> list[Operation]:
    recorded = [*json.loads((infra.folder / FILE).read_text()), *DATA["platform"]]
    return [Operation(one["identity"], one["operation"], one["scope"]) for one in recorded]


def rights_of(infra: Infra) -> Iterator[Right]:
    for file, assignment in assignments(infra):
        identity = holder_of(assignment)
        for name, actions in _roles(file, assignment):
            for scope in _scopes(infra, file, assignment):
                yield from (Right(identity, name, action, scope) for action in actions)
    for assignment in infra.of_type("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments"):
        for action in ROLES[COSMOS_DATA_CONTRIBUTOR]["actions"]:
            yield Right(holder_of(assignment), ROLES[COSMOS_DATA_CONTRIBUTOR]["name"], action, "cosmos/droptune")


def _roles(file: BicepFile, assignment: Resource) -> Iterator[tuple[str, list[str]]]:
    """Name and actions, those on data among them, of the roles given; `roles-are-allowed` speaks of unknown ones."""
    for role in roles_of(file, assignment):
        if known := ROLES.get(role):
            yield known["name"], known.get("actions", [])
    own = source(assignment.get("properties.roleDefinitionId")).removesuffix(".id")
    for definition in file.resources:
        if definition.type == DEFINITION and definition.symbol == own:
            for permission in definition.get("properties.permissions"):
                yield own, [*permission.get("actions", []), *permission.get("dataActions", [])]


def _scopes(infra: Infra, file: BicepFile, assignment: Resource) -> list[str]:
    """By the table in `operations.toml`; a scope that has no name there is itself, where nothing is done."""
    key = f"{file.name}:{source(assignment.body.get('scope', 'subscription')).split('[')[0]}"
    name = DATA["scopes"].get(key, key)
    if "{}" not in name:
        return [name]
    loop = assignment.loop or ""
    names = json.loads((infra.folder / "topology.json").read_text()).get(loop.removeprefix("topology."))
    return [name.format(one) for one in names or file.variables[loop]]
