"""What the policy and the owners of endpoints say about a run: asked before anything is spent, and in each step."""

from collections.abc import Iterator

from shared.domain.catalog import CATALOG, check_license
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.domain.recipe import Recipe
from shared.domain.run import Run
from shared.ports import RunStore, Services
from shared.records import endpoints, policies, runs
from shared.step_support.licenses import review_problem


def endpoint_owner(endpoint: str, policy: PlatformPolicy, store: RunStore) -> str | None:
    """The project that may deploy to an endpoint: by the policy, else the one whose model is in production there, else
    the one of that name; None if it is nobody's yet."""
    if (owner := policy.owner(endpoint)) is not None:
        return owner
    if (record := endpoints.read(store, endpoint)) is not None:
        return record.project
    return endpoint if runs.any_of(store, endpoint) else None


def license_problems(run: Run, recipe: Recipe, policy: PlatformPolicy, services: Services) -> Iterator[Problem]:
    """Uses that the license bars, and that nobody has accepted it. Where a person approves, who asked for the run is
    not the only one who has."""
    entry, uses = CATALOG.get(recipe.base_model) or policy.own_base(recipe.base_model), recipe.intended_uses
    if uses is not None:
        uses += tuple(use for rules in policy.rules(run.project).values() for use in rules.intended_uses)
    yield from check_license(recipe.base_model, recipe.use_case, uses)
    requester_ids = run.requester_ids if recipe.deployment.approval == "required" else ()
    if entry and (problem := review_problem(entry, policy, services, requester_ids)):
        yield problem


def violations(run: Run, policy: PlatformPolicy, services: Services, recipe: Recipe | None = None) -> Iterator[Problem]:
    """Everything that the run may not do. `recipe`: of a run that something else is wrong with, so that it has none.
    Raises WaitsForRelease, and LaterVersion."""
    recipe, project = recipe or run.resolved.requested, run.project
    endpoint = recipe.deployment.endpoint or project
    yield from license_problems(run, recipe, policy, services)
    yield from policy.violations(recipe, project, run.recipe)
    yield from _of_another(endpoint, project, policy, services.store)


def _of_another(endpoint: str, project: str, policy: PlatformPolicy, store: RunStore) -> Iterator[Problem]:
    if (owner := endpoint_owner(endpoint, policy, store)) not in (None, project):
        message = f"deployment.endpoint: endpoint {endpoint} is of project {owner}"
        yield Problem(code="endpoint_of_another_project", message=message, param="deployment.endpoint")


def require_allowed(run: Run, services: Services) -> AppliedPolicy:
    """The policy in force. Raises PermanentFailure (license, recipe) of the first violation, which names them all."""
    applied = policies.read(services.store)
    _require_none(applied, list(violations(run, applied.policy, services)))
    return applied


def require_owner(endpoint: str, project: str, services: Services) -> None:
    """Raises PermanentFailure `endpoint_of_another_project`."""
    applied = policies.read(services.store)
    _require_none(applied, list(_of_another(endpoint, project, applied.policy, services.store)))


def _require_none(applied: AppliedPolicy, found: list[Problem]) -> None:
    if found:
        message = f"{'; '.join(one.message for one in found)} (policy version {applied.version})"
        failure_class = FailureClass.LICENSE if found[0].code.startswith("license_") else FailureClass.RECIPE
        raise PermanentFailure(failure_class, found[0].code, message, found[0].param)
