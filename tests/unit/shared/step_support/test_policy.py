"""Who owns an endpoint, and what a run may not do there."""

from __future__ import annotations

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.recipe import Recipe
from shared.domain.run import Run
from shared.ports import Services
from shared.records import policies
from shared.runner import Runner
from shared.step_support.policy import endpoint_owner, require_allowed, violations
from tests.unit.functions.http.support import in_production
from tests.unit.shared.support import drop

NONE = PlatformPolicy()


def test_an_endpoint_is_of_who_the_policy_says_then_of_the_record_then_of_the_project_of_its_name(
    services: Services,
) -> None:
    assert endpoint_owner("shop-eu", NONE, services.store) is None
    in_production(services, name="shop-eu")  # by project shop
    assert endpoint_owner("shop-eu", NONE, services.store) == "shop"
    given = PlatformPolicy(projects={"bank": Project(endpoints=("shop-eu",))})
    assert endpoint_owner("shop-eu", given, services.store) == "bank"


def test_nobody_takes_the_name_of_a_project_before_its_first_promotion(services: Services) -> None:
    assert endpoint_owner("shop", NONE, services.store) is None
    drop(services, Runner(services))
    assert endpoint_owner("shop", NONE, services.store) == "shop"
    named = PlatformPolicy(projects={"bank": Project()})
    assert endpoint_owner("bank", named, services.store) == "bank"


@pytest.mark.parametrize("project", ["shop", "evil"])
def test_only_its_owner_deploys_to_an_endpoint(prepared: Run, services: Services, project: str) -> None:
    in_production(services)
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "deployment": {"endpoint": "shop"}})
    resolved = resolve(recipe, project, train_rows=100, characters_max=100)
    run = prepared.evolve(project=project, recipe=resolved)
    found = [problem.code for problem in violations(run, NONE, services)]
    assert found == ([] if project == "shop" else ["endpoint_of_another_project"])


def test_a_run_is_refused_with_everything_that_is_not_allowed_and_the_policys_version(services: Services) -> None:
    limits = {"budget.max_usd": {"at_most": 10}, "deployment.approval": {"one_of": ["required"]}}
    rules = PlatformPolicy.model_validate({"limits": limits})
    policies.apply(services.store, rules, 0, "ada", "object-1", services.clock.now())
    run = drop(services, Runner(services))
    assert run is not None
    resolved = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)
    with pytest.raises(PermanentFailure) as refused:
        require_allowed(run.evolve(recipe=resolved), services)
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.RECIPE, "policy")
    assert refused.value.problem.message == (
        "budget.max_usd: it is 50.0, the platform wants at most 10; "
        "deployment.approval: it is automatic, the platform wants required (policy version 1)"
    )
