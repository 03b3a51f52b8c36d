"""What the policy and the owners of endpoints say about a run: asked before anything is spent, and in each step."""

from collections.abc import Iterator

from shared.domain.catalog import check_license
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.domain.recipe import ResolvedRecipe
from shared.domain.run import Run
from shared.ports import RunStore
from shared.records import endpoints, policies, runs


def endpoint_owner(endpoint: str, policy: PlatformPolicy, store: RunStore) -> str | None:
    """The project that may deploy to an endpoint: by the policy, else the one whose model is in production there, else
    the one of that name; None if it is nobody's yet."""
    if (owner := policy.owner(endpoint)) is not None:
        return owner
    if (record := endpoints.read(store, endpoint)) is not None:
        return record.project
    return endpoint if runs.any_of(store, endpoint) else None


def violations(resolved: ResolvedRecipe, policy: PlatformPolicy, store: RunStore) -> Iterator[Problem]:
    """Everything that the run may not do. Raises WaitsForRelease, and LaterVersion."""
    project, endpoint, recipe = resolved.project, resolved.endpoint, resolved.requested
    uses = recipe.intended_uses
    if uses is not None:
        uses += tuple(use for rules in policy.rules(project).values() for use in rules.intended_uses)
    yield from check_license(recipe.base_model, recipe.use_case, uses)
    yield from policy.violations(resolved, project)
    if (owner := endpoint_owner(endpoint, policy, store)) not in (None, project):
        message = f"deployment.endpoint: endpoint {endpoint} is of project {owner}"
        yield Problem(code="endpoint_of_another_project", message=message, param="deployment.endpoint")


def require_allowed(run: Run, store: RunStore) -> AppliedPolicy:
    """The policy in force. Raises PermanentFailure (license, recipe) of the first violation, which names them all."""
    applied = policies.read(store)
    found = list(violations(run.resolved, applied.policy, store))
    if found:
        message = f"{'; '.join(one.message for one in found)} (policy version {applied.version})"
        failure_class = FailureClass.LICENSE if found[0].code.startswith("license_") else FailureClass.RECIPE
        raise PermanentFailure(failure_class, found[0].code, message, found[0].param)
    return applied
