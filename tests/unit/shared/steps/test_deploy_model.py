"""Deploy a model: claim, champion and endpoint -> deployment, another evaluation, or a later attempt."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.catalog import CATALOG, BaseModelEntry
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import FailureClass, PermanentFailure, Problem, Transient
from shared.domain.events import DeploymentStarted, EvaluationPassed, EvaluationStarted, StageRefused
from shared.domain.jobs import CoreQuota, DeploymentSpec, EndpointView, MachineSize
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy
from shared.domain.recipe import Recipe
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, policies, serving_costs
from shared.rendering.check import length_policy
from shared.step_support.outcome import Outcome, event_of
from shared.steps.deploy_model import deploy_model, deployment_spec, model_spec
from shared.steps.fail_run import fail_run
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import RESULT, VERDICT

CLAIM = claims.endpoint_claim("shop")
PASSED = EvaluationPassed.of(RESULT, VERDICT)


def serving(**traffic: int) -> EndpointView:
    return EndpointView(name="shop", scoring_uri="http://x/", traffic=traffic, deployments=tuple(traffic))


def deployed(run: Run, services: Services, platform: Platform) -> Outcome:
    ports = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    return deploy_model(event_of(run, PASSED, run.created_at), run, ports)


def owner(services: Services) -> str | None:
    held = claims.read(services.store, CLAIM)
    return held.owner if held else None


def test_a_deployment_has_the_machines_of_the_recipe(prepared: Run, services: Services) -> None:
    three = prepared.resolved.requested.deployment.model_copy(update={"instances": 3})
    requested = prepared.resolved.requested.model_copy(update={"deployment": three})
    run = prepared.evolve(recipe=prepared.resolved.model_copy(update={"requested": requested}))
    counts = [deployment_spec(one, services.config).instance_count for one in (prepared, run)]
    assert counts == [1, 3]


@pytest.mark.parametrize(
    ("view", "previous"),
    [
        (None, {}),
        (serving(), {}),
        (serving(old=100), {"old": 100}),
        (serving(old=90, other=10), {"old": 90, "other": 10}),
    ],
    ids=["no endpoint", "no traffic", "one deployment", "two deployments"],
)
def test_the_model_is_deployed_without_traffic_beside_what_the_endpoint_has(
    prepared: Run, services: Services, view: EndpointView | None, previous: dict[str, int]
) -> None:
    platform = Platform(view)
    outcome = deployed(prepared, services, platform)
    spec = deployment_spec(prepared, services.config)
    assert (platform.models, platform.deployments) == ([model_spec(prepared)], [spec])
    assert (outcome.status, owner(services)) == (Status.DEPLOYING, prepared.id)
    rollout = outcome.changes["rollout"]
    assert rollout is not None
    assert (rollout.previous, rollout.traffic, rollout.step) == (previous, previous, 0)
    started = DeploymentStarted(endpoint="shop", deployment=spec.name, model=spec.model)
    assert [draft.data for draft in outcome.events] == [started]


def test_an_own_deployment_that_a_crash_left_with_traffic_is_not_what_there_was_before(
    prepared: Run, services: Services
) -> None:
    own = paths.deployment_name(prepared.id)
    outcome = deployed(prepared, services, Platform(serving(**{"old": 90, own: 10})))
    rollout = outcome.changes["rollout"]
    assert rollout is not None
    assert rollout.previous == {"old": 90}


@pytest.mark.parametrize("view", [None, serving(old=100)], ids=["created", "changed"])
def test_an_endpoint_that_is_being_created_or_changed_is_waited_for_under_the_claim(
    prepared: Run, services: Services, view: EndpointView | None
) -> None:
    platform = Platform(view, ready=False)
    with pytest.raises(Transient, match="endpoint_provisioning"):
        deployed(prepared, services, platform)
    assert (platform.deployments, owner(services)) == ([], prepared.id)


@pytest.mark.parametrize("own", [False, True], ids=["new", "begun before a crash"])
def test_missing_cores_are_waited_for_without_the_claim_so_that_production_can_be_rolled_back(
    prepared: Run, services: Services, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    name = prepared.resolved.serving_instance_type
    monkeypatch.setattr(Platform, "sizes", (MachineSize(name=name, family="F", cores=8),))
    monkeypatch.setattr(Platform, "quotas", (CoreQuota(family="f", spot=False, used=17, limit=24),))
    traffic = {"production": 100, "previous": 0, **({paths.deployment_name(prepared.id): 0} if own else {})}
    platform = Platform(serving(**traffic))
    if own:  # its cores are among those in use
        assert deployed(prepared, services, platform).status is Status.DEPLOYING
        return
    with pytest.raises(PermanentFailure, match="cores_missing") as refused:
        deployed(prepared, services, platform)
    assert refused.value.failure_class is FailureClass.QUOTA
    assert (platform.models, platform.deployments, owner(services)) == ([], [], None)


def test_a_deployment_that_azure_refuses_leaves_the_endpoint_to_a_rollback_until_the_next_try(
    prepared: Run, services: Services
) -> None:
    class Refusing(Platform):
        def begin_deployment(self, spec: DeploymentSpec) -> None:
            raise PermanentFailure(FailureClass.QUOTA, "azure_ml_quota", "Current usage/limit: 0/6")

    with pytest.raises(PermanentFailure, match="azure_ml_quota"):
        deployed(prepared, services, Refusing(serving(old=100)))
    assert serving_costs.read(services.store, "shop").running == (), "it was not created"
    refused = StageRefused(
        stage="deploy_model",
        failure_class=FailureClass.QUOTA,
        problem=Problem(code="azure_ml_quota", message="Current usage/limit: 0/6"),
    )
    line = prepared.history[-1].model_copy(update={"status": Status.APPROVED})
    approved = prepared.evolve(status=Status.APPROVED, history=(line,))
    platform = Platform()
    ports = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    assert fail_run(event_of(approved, refused, approved.created_at), approved, ports).status is Status.APPROVED
    assert (owner(services), platform.deleted) == (None, [paths.deployment_name(prepared.id)])
    assert deployed(prepared, services, Platform(serving(old=100))).status is Status.DEPLOYING
    assert owner(services) == prepared.id


def test_nothing_is_deployed_in_an_endpoint_that_failed(prepared: Run, services: Services) -> None:
    class Failed(Platform):
        def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
            raise PermanentFailure(FailureClass.PLATFORM, "endpoint_failed", name)

    with pytest.raises(PermanentFailure, match="endpoint_failed"):
        deployed(prepared, services, platform := Failed(serving(old=100)))
    assert platform.deployments == []


def test_a_deployment_costs_from_before_it_is_requested(prepared: Run, services: Services) -> None:
    class Dying(Platform):
        def begin_deployment(self, spec: DeploymentSpec) -> None:
            super().begin_deployment(spec)
            raise Transient("unanswered", "it was done, and the answer was lost")

    with pytest.raises(Transient, match="unanswered"):
        deployed(prepared, services, platform := Dying(serving(old=100)))
    (entry,) = serving_costs.read(services.store, "shop").running
    (spec,) = platform.deployments
    assert (entry.deployment, entry.run, entry.instance_type, entry.instances) == (
        spec.name,
        prepared.id,
        spec.instance_type,
        spec.instance_count,
    )
    assert deployed(prepared, services, Platform(serving(old=100))).status is Status.DEPLOYING
    assert serving_costs.read(services.store, "shop").running == (entry,)


def test_another_runs_rollout_is_waited_for(prepared: Run, services: Services) -> None:
    claims.take(services.store, CLAIM, "run-other", prepared.created_at)
    platform = Platform()
    with pytest.raises(Transient, match="endpoint_busy"):
        deployed(prepared, services, platform)
    assert (platform.models, platform.deployments, owner(services)) == ([], [], "run-other")


@pytest.mark.parametrize("evaluated_against", [None, "run-older"])
def test_a_verdict_about_another_champion_is_made_again_and_the_endpoint_is_free_meanwhile(
    prepared: Run, services: Services, evaluated_against: str | None
) -> None:
    record = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion="run-newer",
        deployment="d-newer",
        model="shop:1",
        scoring_uri="http://x/",
        promoted_at=prepared.created_at,
    )
    endpoints.write(services.store, record, replacing=None)
    decision = Decision(granted=True, by="ada", at=prepared.created_at)
    platform = Platform()
    outcome = deployed(prepared.evolve(champion=evaluated_against, decision=decision), services, platform)
    assert (outcome.status, outcome.note) == (Status.EVALUATING, "run-newer went into production meanwhile")
    assert (outcome.changes["champion"], outcome.changes["decision"]) == ("run-newer", None)
    [job] = platform.jobs
    assert job.inputs["champion"] == paths.datastore_uri(paths.run("run-newer", "model/merged"))
    assert [draft.data for draft in outcome.events] == [EvaluationStarted(job=job.name)]
    assert (platform.deployments, owner(services)) == ([], None)


@pytest.mark.parametrize(
    ("base_model", "expected"),
    [
        ("droptune/tiny-llama", {"MAX_MODEL_LEN": "4096", "TOOL_CALL_PARSER": "hermes"}),
        ("microsoft/Phi-4", {"MAX_MODEL_LEN": "8192"}),
        (
            "meta-llama/Llama-3.3-70B-Instruct",
            {"MAX_MODEL_LEN": "8192", "TENSOR_PARALLEL_SIZE": "2", "TOOL_CALL_PARSER": "llama3_json"},
        ),
    ],
)
def test_the_server_is_told_the_tokens_it_serves_the_gpus_it_shares_and_the_calls_it_reads(
    prepared: Run, services: Services, base_model: str, expected: dict[str, str]
) -> None:
    recipe = resolve(Recipe(base_model=base_model), "shop", train_rows=100, characters_max=100)
    spec = deployment_spec(prepared.evolve(recipe=recipe), services.config)
    assert spec.environment_variables == {"SERVED_MODEL_NAME": "shop", **expected}


OFFERED = [entry for entry in CATALOG.values() if entry.architecture]
METHODS: list[dict[str, Any]] = [
    {"type": "supervised"},
    {"type": "dpo"},
    {
        "type": "reinforcement",
        "graders": [{"name": "r", "type": "string_check", "reference": "x"}],
        "hyperparameters": {"max_new_tokens": 2000},
    },
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("answer", [1, 256, 4096])
@pytest.mark.parametrize("longest", [100, 3900, 5000, 8192, 12_000, 20_000, 131_072])
@pytest.mark.parametrize("entry", OFFERED, ids=lambda entry: entry.id)
def test_whatever_planning_lets_through_is_served_with_its_answer(
    prepared: Run, services: Services, entry: BaseModelEntry, longest: int, answer: int
) -> None:
    longest = min(longest, entry.context_tokens)
    for method, set_length in itertools.product(METHODS, (False, True)):
        given = {**method.get("hyperparameters", {}), **({"max_length_tokens": longest} if set_length else {})}
        requested = Recipe.model_validate(
            {
                "base_model": entry.id,
                "method": {**method, "hyperparameters": given},
                "evaluation": {"max_new_tokens": answer},
            }
        )
        try:
            recipe = resolve(requested, "shop", train_rows=100, characters_max=100, tokens_max=longest)
        except PermanentFailure as refused:
            assert refused.problem.code in ("exceeds_context", "does_not_fit")  # noqa: PT017
            continue
        variables = deployment_spec(prepared.evolve(recipe=recipe), services.config).environment_variables
        policy, served = length_policy(requested), int(variables["MAX_MODEL_LEN"])
        assert policy.prompt_limit is not None
        # A held-out row with a longer prompt is refused by its number.
        assert min(longest, policy.prompt_limit) + answer <= served <= entry.context_tokens
        assert policy.prompt_limit >= min(longest, entry.context_tokens - answer)
        assert policy.limit is not None
        assert set_length or min(longest, policy.limit) <= recipe.hyperparameters.max_length_tokens
        sampled = given.get("max_new_tokens", 0)
        assert recipe.hyperparameters.max_length_tokens + sampled <= served


def test_the_loser_of_a_race_deletes_its_deployment_unless_the_winner_made_the_same(
    prepared: Run, services: Services
) -> None:
    platform = Platform()
    outcome = deployed(prepared, services, platform)
    assert outcome.undo is not None
    outcome.undo(prepared.evolve(**outcome.changes))
    assert platform.deleted == []
    outcome.undo(prepared)
    assert platform.deleted == [paths.deployment_name(prepared.id)]


def test_a_policy_that_asks_for_more_approvals_by_now_stops_a_run_that_has_fewer(
    prepared: Run, services: Services
) -> None:
    policies.apply(services.store, PlatformPolicy(approvers=2), 0, "root", "root", prepared.created_at)
    approved = (Decision(granted=True, by="ada", by_id="ada", at=prepared.created_at),)
    platform = Platform()
    with pytest.raises(PermanentFailure, match="not_approved: by version 1 of the policy more persons must approve"):
        deployed(prepared.evolve(approvals=approved, uploader_ids=("bob",)), services, platform)
    assert (platform.deployments, owner(services)) == ([], None)


def test_a_run_whose_recipe_asks_for_approval_is_not_deployed_without_one(prepared: Run, services: Services) -> None:
    assert prepared.recipe is not None
    platform, requested = Platform(), prepared.recipe.requested
    deployment = requested.deployment.model_copy(update={"approval": "required"})
    recipe = prepared.recipe.model_copy(update={"requested": requested.model_copy(update={"deployment": deployment})})
    with pytest.raises(PermanentFailure, match="not_approved: by version 0 of the policy more persons must approve"):
        deployed(prepared.evolve(recipe=recipe, approvals=()), services, platform)
    assert (platform.deployments, owner(services)) == ([], None)
