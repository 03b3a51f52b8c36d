"""What a recipe may not do is refused in validation, and again by each step that spends or deploys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.catalog import LicenseDecision, find_entry
from shared.domain.dataset import Report, Statistics
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import EvaluationPassed, ValidationPassed
from shared.domain.findings import Findings
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy
from shared.domain.recipe import Recipe
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, policies
from shared.records.blob_documents import read_model
from shared.step_support.candidate import model_sha256
from shared.step_support.outcome import event_of
from shared.step_support.policy import require_allowed, terms_sha256
from shared.steps.deploy_model import deploy_model
from shared.steps.submit_training import submit_training
from shared.steps.validate_dataset import accepted, refused
from shared.validation.validator import ALL_CODES
from tests.subscriptions import subscribe
from tests.unit.shared.domain.own_base import ENTRY
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import CURATED, RESULT, VERDICT

TINY = "droptune/tiny-llama"
LIMITS = {
    "base_model": {"one_of": [TINY]},
    "budget.max_usd": {"at_most": 60},
    "budget.instance_type": {"one_of": ["Standard_D*", "Standard_E*", "Local*"]},
    "deployment.approval": {"one_of": ["required"]},
    "deployment.instances": {"at_most": 1},
    "evaluation.gate.max_general_regression": {"at_most": 0.1},
    "evaluation.gate.min_rows": {"at_least": 20},
}
POLICY = {"limits": LIMITS, "notify_hosts": ["hooks.example"], "projects": {"bank": {"endpoints": ["vault"]}}}
KEPT = {"base_model": TINY, "deployment": {"approval": "required"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the endpoint of another project": ({"deployment": {"endpoint": "acme", "approval": "required"}}, "another"),
    "its adapter": (
        {
            "deployment": {"endpoint": "acme", "approval": "required"},
            "method": {"type": "supervised", "continue_from": "champion"},
        },
        "another",
    ),
    "an endpoint that the policy gives to another": (
        {"deployment": {"endpoint": "vault", "approval": "required"}},
        "another",
    ),
    "the name of a registered project": ({"deployment": {"endpoint": "bank", "approval": "required"}}, "another"),
    "no approval": ({"deployment": {"approval": "automatic"}}, "policy"),
    "a gate of two rows": ({"evaluation": {"gate": {"min_rows": 2}}}, "policy"),
    "no general suite": ({"evaluation": {"gate": {"max_general_regression": None}}}, "policy"),
    "more money": ({"budget": {"max_usd": 61}}, "policy"),
    "more machines": ({"deployment": {"instances": 2, "approval": "required"}}, "policy"),
}
CODES = {"another": "endpoint_of_another_project", "policy": "policy"}


@pytest.fixture
def governed(services: Services) -> Services:
    """A policy, and another project's model in production at `acme`."""
    now = services.clock.now()
    policies.apply(services.store, PlatformPolicy.model_validate(POLICY), 0, "root", "root", now)
    names = {"endpoint": "acme", "project": "acme", "champion": "run-a", "deployment": "d", "model": "acme:1"}
    record = EndpointRecord(**names, scoring_uri="http://x/", promoted_at=now)
    endpoints.write(services.store, record, replacing=None)
    platform = Platform(None)
    return replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]


def report(eval_rows: int = 60) -> Report:
    rows = Statistics(train_rows=100, eval_rows=eval_rows, characters_max=100, characters_mean=50)
    return Report(passed=True, format="chat", eval_source="file", statistics=rows)


def of(recipe: dict[str, Any], run: Run) -> Run:
    resolved = resolve(Recipe.model_validate({**KEPT, **recipe}), "shop", train_rows=100, characters_max=100)
    return run.evolve(recipe=resolved)


@pytest.mark.parametrize(("recipe", "kind"), REFUSED.values(), ids=REFUSED)
def test_validation_rejects_it_with_field_and_policy(
    prepared: Run, governed: Services, recipe: dict[str, Any], kind: str
) -> None:
    run = prepared.evolve(recipe=None)
    outcome = accepted(run, Recipe.model_validate({**KEPT, **recipe}), report(), CURATED, governed)
    assert outcome.status is Status.REJECTED
    shown = read_model(governed.blobs, paths.run(run.id, "report.json"), Report)
    assert shown is not None
    assert [problem.code for problem in shown.problems if problem.severity == "error"] == [CODES[kind]]
    assert shown.policy == outcome.changes["policy"] == policies.read(governed.store).in_force("shop")


@pytest.mark.parametrize("code", ["unknown_base_model", "too_few_rows"])
@pytest.mark.parametrize(("recipe", "kind"), REFUSED.values(), ids=REFUSED)
def test_the_report_of_a_run_with_another_fault_has_it_too(
    prepared: Run, governed: Services, recipe: dict[str, Any], kind: str, code: str
) -> None:
    chosen = {**KEPT, **recipe, **({"base_model": "acme/gpt"} if code == "unknown_base_model" else {})}
    findings = Findings(ALL_CODES)
    findings.add(code, "recipe")
    failed = report(eval_rows=1).model_copy(update={"passed": False, "problems": findings.problems()})
    run = prepared.evolve(recipe=None)
    outcome = refused(run, Recipe.model_validate(chosen), failed, governed)
    assert outcome.status is Status.REJECTED
    shown = read_model(governed.blobs, paths.run(run.id, "report.json"), Report)
    assert shown is not None
    errors = [problem.code for problem in shown.problems if problem.severity == "error"]
    of_base = ["policy"] if code == "unknown_base_model" else []  # the policy does not name acme/gpt either
    assert sorted(errors) == sorted([code, CODES[kind], *of_base])
    assert not shown.passed
    assert shown.policy == outcome.changes["policy"] == policies.read(governed.store).in_force("shop")
    assert refused(run, None, failed, governed).changes["policy"] is None, "a recipe that cannot be read"


def test_a_run_says_which_policy_its_training_and_its_deployment_were_held_to(
    prepared: Run, governed: Services
) -> None:
    approved = (Decision(granted=True, by="ada", by_id="ada", at=prepared.created_at),)
    run = of({}, prepared).evolve(approvals=approved, uploader_ids=("bob",))
    passed = ValidationPassed(version="v1", train_rows=100, eval_rows=60)
    first = submit_training(event_of(run, passed, run.created_at), run, governed).changes["policy"]
    looser = PlatformPolicy.model_validate({"limits": {"budget.max_usd": {"at_most": 70}}})
    policies.apply(governed.store, looser, 1, "root", "root", governed.clock.now())
    better = event_of(run, EvaluationPassed.of(RESULT, VERDICT), run.created_at)
    governed.models.begin_endpoint("shop", {})
    second = deploy_model(better, run, governed).changes["policy"]
    assert first is not None
    assert second is not None
    assert (first.version, first.limits["budget.max_usd"]) == (1, "at most 60 (the platform)")
    assert second.model_dump() == {"version": 2, "limits": {"budget.max_usd": "at most 70 (the platform)"}}


@pytest.mark.parametrize(("recipe", "kind"), REFUSED.values(), ids=REFUSED)
def test_training_and_deployment_refuse_it_again(
    prepared: Run, governed: Services, recipe: dict[str, Any], kind: str
) -> None:
    run = of(recipe, prepared)
    passed = ValidationPassed(version="v1", train_rows=100, eval_rows=60)
    with pytest.raises(PermanentFailure) as refused:
        submit_training(event_of(run, passed, run.created_at), run, governed)
    assert refused.value.problem.code == CODES[kind]
    better = EvaluationPassed.of(RESULT, VERDICT)
    with pytest.raises(PermanentFailure) as refused:
        deploy_model(event_of(run, better, run.created_at), run, governed)
    assert refused.value.problem.code == CODES[kind]
    assert (governed.launcher.jobs, governed.models.deployments) == ([], [])  # type: ignore[attr-defined]
    assert claims.read(governed.store, claims.endpoint_claim(run.resolved.endpoint)) is None, "others may go on there"


def test_a_recipe_within_the_policy_passes_and_the_report_says_what_was_set(prepared: Run, governed: Services) -> None:
    outcome = accepted(prepared.evolve(recipe=None), Recipe(base_model=TINY), report(), CURATED, governed)
    assert outcome.status is Status.VALIDATED
    resolved = outcome.changes["recipe"]
    assert resolved is not None
    assert resolved.requested.deployment.approval == "required"
    assert resolved.reasons["deployment.approval"] == "required: the platform wants required"
    shown = read_model(governed.blobs, paths.run(prepared.id, "report.json"), Report)
    assert shown is not None
    assert [problem.code for problem in shown.problems] == ["policy_applied"]


def test_a_recipe_that_names_a_subscription_that_is_not_there_is_warned(prepared: Run, services: Services) -> None:
    subscribe(services.store, project=prepared.project, name="ops")
    subscribe(services.store, name="audit")  # of all projects: no recipe asks for more there
    notify = [{"subscription": "ops"}, {"subscription": "audit"}]
    platform = Platform(None)
    services = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    recipe = Recipe.model_validate({"base_model": TINY, "notify": notify})
    outcome = accepted(prepared.evolve(recipe=None), recipe, report(), CURATED, services)
    assert outcome.status is Status.VALIDATED
    shown = read_model(services.blobs, paths.run(prepared.id, "report.json"), Report)
    assert shown is not None
    [problem] = shown.problems
    assert (problem.code, problem.severity) == ("unknown_subscription", "warning")
    assert "notify[1].subscription: shop has none named audit" in problem.message


def test_a_budget_that_the_policy_sets_is_one_that_the_estimate_has_to_fit(prepared: Run, governed: Services) -> None:
    limits = {"budget.max_usd": {"at_most": 0.001}}
    policies.apply(
        governed.store, PlatformPolicy.model_validate({"limits": limits}), 1, "root", "root", prepared.created_at
    )
    recipe = Recipe.model_validate({"base_model": "microsoft/Phi-4"})
    outcome = accepted(prepared, recipe, report(), CURATED, governed)
    assert (outcome.status, outcome.note) == (Status.REJECTED, "over_budget")


def test_rows_too_few_for_the_policys_gate_are_found_before_training(prepared: Run, governed: Services) -> None:
    outcome = accepted(prepared.evolve(recipe=None), Recipe.model_validate(KEPT), report(19), CURATED, governed)
    assert (outcome.status, outcome.note) == (Status.REJECTED, "policy")


@pytest.mark.parametrize(
    ("floor", "operation", "status"),
    [(0.8, "like", Status.REJECTED), (0.8, "eq", Status.VALIDATED), (0, "like", Status.VALIDATED)],
)
def test_a_score_that_the_policy_asks_for_is_not_given_to_any_answer(
    prepared: Run, services: Services, floor: float, operation: str, status: Status
) -> None:
    platform = Platform(None)
    services = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    floors = PlatformPolicy.model_validate({"limits": {"evaluation.gate.min_score": {"at_least": floor}}})
    policies.apply(services.store, floors, 0, "root", "root", services.clock.now())
    grader = {"type": "string_check", "name": "x", "reference": "", "operation": operation}
    recipe = Recipe.model_validate({"base_model": TINY, "evaluation": {"graders": [grader]}})
    outcome = accepted(prepared.evolve(recipe=None), recipe, report(), CURATED, services)
    assert (outcome.status, outcome.note) == (status, "policy" if status is Status.REJECTED else "")


def test_a_policy_that_became_stricter_stops_a_run_that_was_trained_under_the_old_one(
    prepared: Run, governed: Services
) -> None:
    run = of({"budget": {"max_usd": 50}}, prepared)
    stricter = PlatformPolicy.model_validate({**POLICY, "limits": {**LIMITS, "budget.max_usd": {"at_most": 40}}})
    policies.apply(governed.store, stricter, 1, "root", "root", governed.clock.now())
    with pytest.raises(PermanentFailure, match=r"at most 40 \(policy version 2\)"):
        deploy_model(event_of(run, EvaluationPassed.of(RESULT, VERDICT), run.created_at), run, governed)


def test_a_model_that_changed_after_its_evaluation_is_not_deployed(prepared: Run, governed: Services) -> None:
    path = paths.run(prepared.id, "model/merged/model.safetensors")
    governed.blobs.write(path, [b"evaluated"])
    run = of({}, prepared).evolve(model_sha256=model_sha256(prepared, governed.blobs))
    governed.blobs.write(path, [b"poisoned!"])
    with pytest.raises(PermanentFailure, match="model_changed"):
        deploy_model(event_of(run, EvaluationPassed.of(RESULT, VERDICT), run.created_at), run, governed)
    assert governed.models.deployments == []  # type: ignore[attr-defined]


LLAMA_ID = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA = {"base_model": LLAMA_ID, "use_case": "spare parts", "intended_uses": ["commercial"]}


@pytest.mark.parametrize(
    ("recipe", "policy", "accepted_before", "code"),
    [
        ({}, {}, False, "license_review"),
        ({}, {}, True, None),
        ({"deployment": {"approval": "required"}}, {}, True, None),
        ({"deployment": {"approval": "required"}}, {}, "by who asked", "license_review"),
        ({}, {}, "by who asked", None),
        ({"intended_uses": ["deception"]}, {}, True, "license_bars_use"),
        ({}, {"intended_uses": ["weapons"]}, True, "license_bars_use"),
        ({}, {"projects": {"shop": {"intended_uses": ["military"]}}}, True, "license_bars_use"),
        ({}, {"projects": {"bank": {"intended_uses": ["military"]}}}, True, None),
        ({"base_model": TINY}, {"intended_uses": ["weapons"], "review_every_license": True}, False, None),
    ],
)
def test_a_license_that_bars_the_use_or_was_not_accepted_stops_the_run_before_it_costs(
    prepared: Run,
    services: Services,
    recipe: dict[str, Any],
    policy: dict[str, Any],
    accepted_before: bool | str,
    code: str | None,
) -> None:
    """Where a person approves, who asked for a run is not the only one who has accepted."""
    platform = Platform(None)
    services = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    now = services.clock.now()
    policies.apply(services.store, PlatformPolicy.model_validate(policy), 0, "root", "root", now)
    if accepted_before:
        terms = terms_sha256(find_entry(LLAMA_ID), services.blobs)
        by = {"by": "ada", "by_id": "object-1", "at": now, "comment": "our lawyers"}
        prepared = prepared.evolve(uploader_ids=("object-1" if accepted_before == "by who asked" else "object-2",))
        decision = LicenseDecision(base_model=LLAMA_ID, accepted=True, terms_sha256=terms, **by)
        policies.decide_license(services.store, decision)
    chosen = Recipe.model_validate({**LLAMA, **recipe})
    outcome = accepted(prepared.evolve(recipe=None), chosen, report(), CURATED, services)
    assert (outcome.status, outcome.note) == ((Status.REJECTED, code) if code else (Status.VALIDATED, ""))
    run = prepared.evolve(recipe=resolve(chosen, "shop", train_rows=100, characters_max=100))
    if code is None:
        require_allowed(run, services)
        return
    passed = ValidationPassed(version="v1", train_rows=100, eval_rows=60)
    with pytest.raises(PermanentFailure) as refused:
        submit_training(event_of(run, passed, run.created_at), run, services)
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.LICENSE, code)
    with pytest.raises(PermanentFailure, match=code):
        deploy_model(event_of(run, EvaluationPassed.of(RESULT, VERDICT), run.created_at), run, services)
    assert (platform.jobs, platform.deployments) == ([], [])


def test_a_run_on_the_tenants_own_base_goes_on_until_the_policy_no_longer_offers_it(
    prepared: Run, services: Services
) -> None:
    policies.apply(services.store, PlatformPolicy(base_models=(ENTRY,)), 0, "root", "root", prepared.created_at)
    policies.read(services.store)
    recipe = Recipe.model_validate({"base_model": ENTRY.id})
    run = prepared.evolve(recipe=resolve(recipe, "shop", train_rows=50, characters_max=80))
    assert run.resolved.entry == ENTRY
    assert require_allowed(run, services).version == 1
    policies.apply(services.store, PlatformPolicy(), 1, "root", "root", prepared.created_at)
    with pytest.raises(PermanentFailure) as failure:
        require_allowed(run, services)
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.RECIPE, "unknown_base_model")
