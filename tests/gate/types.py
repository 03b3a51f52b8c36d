"""Resource bodies, and those of the Azure ML client, against what the models of Microsoft's packages define."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from local_stack.azure_ml import published
from tests.gate.bicep import Infra
from tests.gate.finding import Finding, Violations, at, rule

RULE = "types-are-published"
# Bicep's own, and what follows from the declaration.
NOT_IN_THE_BODY = frozenset({"parent", "scope", "dependsOn"})
_WORKSPACE = "/providers/Microsoft.MachineLearningServices/workspaces/any"


@rule(RULE)
def types_are_published(infra: Infra) -> Violations:
    """Types that do not exist; properties that are unknown, missing, read-only or of another type."""
    for resource in infra.resources:
        kind = f"{resource.type}@{resource.version}"
        if not published.is_known(kind):
            yield at(resource), f"{kind} is not in published.json: see tests/published_types.py"
            continue
        body = {key: value for key, value in resource.body.items() if key not in NOT_IN_THE_BODY}
        for problem in published.problems(kind, body):
            yield at(resource), f"{resource.symbol}: {problem}"


def requests(files: Iterable[Path]) -> Iterator[Finding]:
    """The same of recorded requests, `{path, api_version, body}` below a workspace."""
    for file in files:
        request = json.loads(file.read_text())
        kind, name = published.resource_of(f"{_WORKSPACE}/{request['path']}")
        for problem in published.problems(f"{kind}@{request['api_version']}", {"name": name, **request["body"]}):
            yield Finding(RULE, file.name, problem)
