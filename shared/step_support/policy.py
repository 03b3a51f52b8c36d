"""What the policy and the owners of endpoints say about a run: asked before anything is spent, and in each step."""

from collections.abc import Collection, Iterator
from itertools import takewhile

from shared.domain.catalog import CATALOG, BaseModelEntry, check_license
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.domain.recipe import Recipe
from shared.domain.run import Run
from shared.ports import BlobStore, RunStore, Services
from shared.records import endpoints, policies, runs


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


def terms_sha256(entry: BaseModelEntry, blobs: BlobStore) -> str:
    """Hash of what is accepted: the catalog's entry, and the license files that were in the folder at its import."""
    from shared.base_models.bundles import bundle_manifest  # with tokenizers and jinja2, which few functions need

    manifest = bundle_manifest(entry, blobs)
    return entry.terms.sha256(manifest.license_files if manifest else {})


def review_problem(
    entry: BaseModelEntry, policy: PlatformPolicy, services: Services, requester_ids: Collection[str] = ()
) -> Problem | None:
    """`license_review` where a person has to decide first, or has refused; None where the model may be tuned.
    `requester_ids`: ids of persons whose acceptance alone is not enough."""
    decisions = policies.license_decisions(services.store, entry.id)[::-1]
    newest = decisions[0] if decisions else None
    who = f"{newest.by} on {newest.at:%Y-%m-%d}" if newest else ""
    every = policy.review_every_license and entry.terms.policy == "allow" and not entry.terms.own
    if newest is not None and not newest.accepted:
        why = f"it was refused by {who}: {newest.comment}"
    elif entry.terms.policy != "review" and not every:
        return None
    elif newest is None:
        why = "nobody has accepted it yet"
    else:
        terms = terms_sha256(entry, services.blobs)
        since_refusal = takewhile(lambda one: one.accepted, decisions)
        accepted_by = {one.by_id for one in since_refusal if one.terms_sha256 == terms}
        if not accepted_by:
            why = f"what {who} accepted has changed"
        elif accepted_by <= {"", *requester_ids}:
            why = f"it was accepted by {who} alone, who asked for this run: another administrator accepts it too"
        else:
            return None
    message = f"the license of {entry.id} ({entry.terms.id}): {why}; `droptune license show {entry.id}`"
    return Problem(code="license_review", message=message, param="base_model")
