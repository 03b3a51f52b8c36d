"""`/api/policy`: what no recipe may go beyond, and the projects with their members."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import ConfigDict, ModelWrapValidatorHandler, model_validator

from functions.http.auth import Administrator, CurrentServices, Reader
from functions.http.errors import ApiError
from shared.api.models import SchemaDocument
from shared.domain.errors import StoreConflict
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.records import policies
from shared.validation.policies import policy_problems

router = APIRouter(prefix="/api/policy", tags=["policy"])


class PolicyRequest(PlatformPolicy):
    """The policy to put in force."""

    model_config = ConfigDict(defer_build=False)  # FastAPI cannot take the body of a route otherwise

    @model_validator(mode="wrap")
    @classmethod
    def _has_no_problems(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """What is stored is read without: a base model may leave the catalog. Raises ApiError 400."""
        if problems := policy_problems(raw):
            message = "\n".join(map(str, problems))
            raise ApiError(400, "policy_invalid", message, problems[0].path, tuple(problems))
        return handler(raw)


@router.get("")
def get_policy(
    access: Reader, services: CurrentServices, version: Annotated[int | None, Query(ge=1)] = None
) -> AppliedPolicy:
    """The policy in force, or a version of it, with those projects that the caller may see, and their teams."""
    applied = policies.read(services.store, version)
    if version is not None and applied.version == 0:
        raise ApiError(404, "policy_not_found", f"no policy has version {version}", "version")
    seen = {name: project for name, project in applied.policy.projects.items() if access.allows(name)}
    teams = {name: team for name, team in applied.policy.teams.items() if all(map(access.allows, team.projects))}
    return applied.model_copy(update={"policy": applied.policy.model_copy(update={"projects": seen, "teams": teams})})


@router.put("")
def apply_policy(
    policy: PolicyRequest, access: Administrator, services: CurrentServices, replacing: Annotated[int, Query(ge=0)]
) -> AppliedPolicy:
    """Put a policy in force in the place of version `replacing`; 409 if another was applied since. Runs under way are
    held to it in their next step."""
    caller, now = access.caller, services.clock.now()
    try:
        return policies.apply(services.store, policy, replacing, caller.name, caller.id, now)
    except StoreConflict as conflict:
        found = policies.read(services.store).version
        message = f"version {found} is in force: look at it, and say replacing={found}"
        raise ApiError(409, "policy_changed", message, "replacing") from conflict


@router.get("/schema")
def policy_schema(_: Reader) -> SchemaDocument:
    """JSON schema of a policy."""
    return SchemaDocument(PlatformPolicy.model_json_schema())
