"""Submit the training job: run x recipe -> job, and what a repeat or a lost race leaves."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.catalog import find_entry
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.events import BudgetWarning, EventData, TrainingRetryDue, TrainingStarted, ValidationPassed
from shared.domain.jobs import JobKind
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, ResolvedRecipe
from shared.domain.results import CostEstimate
from shared.domain.run import JobRef, Run, Status
from shared.ports import Services
from shared.records import budget
from shared.records.blob_documents import read_model
from shared.step_support.outcome import Outcome, event_of
from shared.steps.submit_training import cancel_unless_owned, submit_training, training_job
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import CURATED

PASSED = ValidationPassed(version="v1", train_rows=100, eval_rows=10)
RETRY = TrainingRetryDue(failure_class=FailureClass.PLATFORM, problem=Problem(code="job_failed", message="gone"))


def submitted(run: Run, services: Services, platform: Platform, data: EventData = PASSED, attempt: int = 1) -> Outcome:
    event = event_of(run, data, run.created_at).model_copy(update={"attempt": attempt})
    return submit_training(event, run, replace(services, launcher=platform, models=platform))  # type: ignore[arg-type]


def trained(run: Run, attempt: int) -> JobRef:
    name = f"{run.id}-training-{attempt}"
    return JobRef(name=name, kind=JobKind.TRAINING, attempt=attempt, submitted_at=run.created_at)


def test_the_job_is_submitted_with_its_recipe_and_the_run_is_training(prepared: Run, services: Services) -> None:
    platform = Platform()
    outcome = submitted(prepared, services, platform)
    [spec] = platform.jobs
    assert spec == training_job(prepared, services.config)
    assert outcome.status is Status.TRAINING
    [reference] = outcome.changes["jobs"]
    assert (reference.name, reference.kind, reference.attempt) == (spec.name, JobKind.TRAINING, 1)
    assert reference.studio_url == f"https://ml.azure.com/{spec.name}"
    assert prepared.cost is not None
    assert [draft.data for draft in outcome.events] == [TrainingStarted(job=spec.name, estimate=prepared.cost)]
    assert read_model(services.blobs, paths.run(prepared.id, "recipe.json"), ResolvedRecipe) == prepared.recipe


def test_the_history_says_in_what_the_job_was_accepted_otherwise(
    prepared: Run, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Platform, "note", "the job's timeout_s is None, not 600")
    assert submitted(prepared, services, Platform()).note == "the job's timeout_s is None, not 600"


@pytest.mark.parametrize(
    ("data", "before", "requested", "attempt"),
    [(PASSED, (), 1, 1), (PASSED, (1,), 1, 2), (RETRY, (1,), 2, 2), (RETRY, (), 2, 2), (RETRY, (1, 2), 2, 3)],
    ids=["first", "trained before", "retry", "retry, nothing was submitted", "retry, submitted meanwhile"],
)
def test_each_submission_has_the_first_attempt_that_is_free(
    prepared: Run, services: Services, data: EventData, before: tuple[int, ...], requested: int, attempt: int
) -> None:
    platform = Platform()
    run = prepared.evolve(jobs=tuple(trained(prepared, number) for number in before))
    outcome = submitted(run, services, platform, data, requested)
    assert [spec.name for spec in platform.jobs] == [f"{run.id}-training-{attempt}"]
    assert outcome.changes["attempt"] == attempt
    assert [job.attempt for job in outcome.changes["jobs"]] == [*before, attempt]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"budget": {"nodes": 2, "tier": "dedicated", "deadline_hours": 1.5}}, {"instances": 2, "timeout_s": 5400}),
        ({"budget": {"tier": "spot", "deadline_hours": 2}}, {"instances": 1, "tier": "spot", "timeout_s": 7200}),
        ({"base_model": "microsoft/Phi-4", "budget": {"tier": "dedicated", "max_usd": 14}}, {"timeout_s": 13732}),
    ],
)
def test_the_job_has_what_the_recipe_says(
    prepared: Run, services: Services, parts: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert prepared.recipe is not None
    requested = Recipe.model_validate({"base_model": "droptune/tiny-llama", **parts})
    recipe = resolve(requested, "shop", train_rows=100, characters_max=100)
    spec = training_job(prepared.evolve(recipe=recipe), services.config)
    assert {name: getattr(spec, name) for name in expected} == expected
    of_run = {"droptune_run": prepared.id, "project": "shop", "data_version": CURATED.version}
    base = find_entry(requested.base_model)
    of_license = {"base_model": base.id, "license": base.terms.id, "license_asks_1": base.terms.obligations[0]}
    assert spec.tags == {**of_run, **of_license}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("kept_in", ["metrics.jsonl", "spent.json"])
@pytest.mark.parametrize(
    ("spent_s", "left_s"),
    [(0, 7200), (0.6, 7199), (2000.4, 5199), (7198.5, 1), (7199.5, None), (7200, None), (9e9, None)],
)
def test_another_attempt_may_take_the_time_that_is_left(
    prepared: Run, services: Services, kept_in: str, spent_s: float, left_s: int | None
) -> None:
    assert prepared.recipe is not None
    requested = Recipe.model_validate({"base_model": "droptune/tiny-llama", "budget": {"deadline_hours": 2}})
    run = prepared.evolve(recipe=resolve(requested, "shop", train_rows=100, characters_max=100))
    services.blobs.write(paths.run(run.id, "spent.json"), [b'{"seconds"'])  # cut by a kill
    key = "seconds" if kept_in == "spent.json" else "elapsed_s"
    services.blobs.write(paths.run(run.id, kept_in), [json.dumps({key: spent_s}).encode()])
    platform = Platform()
    if left_s is None:
        with pytest.raises(PermanentFailure) as refused:
            submitted(run, services, platform, RETRY, 2)
        problem = refused.value.problem
        assert (problem.code, problem.param) == ("time_spent", "budget.deadline_hours")
        assert refused.value.failure_class is FailureClass.BUDGET
    else:
        submitted(run, services, platform, RETRY, 2)
    assert [spec.timeout_s for spec in platform.jobs] == ([left_s] if left_s else [])


def test_what_the_month_cannot_pay_is_refused_before_a_job_is_submitted(prepared: Run, services: Services) -> None:
    cost = CostEstimate(low_usd=10, high_usd=60, hourly_usd=1, low_hours=0, high_hours=1)
    limited = replace(services, config=replace(services.config, project_monthly_usd=50))
    platform = Platform()
    with pytest.raises(PermanentFailure) as refused:
        submitted(prepared.evolve(cost=cost), limited, platform)
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.BUDGET, "monthly_budget")
    assert platform.jobs == []
    enough = replace(services, config=replace(services.config, project_monthly_usd=70))
    sent = [draft.data for draft in submitted(prepared.evolve(cost=cost), enough, platform).events]
    assert sent[1:] == [BudgetWarning(budget="shop", taken_usd=60, limit_usd=70)]


@pytest.mark.parametrize(("before", "refused"), [((), True), ((1,), False)], ids=["first", "again"])
def test_a_model_that_has_no_place_to_go_is_refused_before_anything_is_paid_for(
    prepared: Run, services: Services, monkeypatch: pytest.MonkeyPatch, before: tuple[int, ...], refused: bool
) -> None:
    """Not where it was paid for already: the checkpoints of an earlier attempt are worth more than a free name."""
    monkeypatch.setattr(Platform, "taken", ("shop",))
    run, platform = prepared.evolve(jobs=tuple(trained(prepared, attempt) for attempt in before)), Platform()
    with pytest.raises(PermanentFailure, match="endpoint_name_taken") if refused else nullcontext():
        submitted(run, services, platform)
    assert len(platform.jobs) == (not refused)


def test_the_loser_of_a_race_cancels_its_job_unless_the_winner_submitted_the_same(
    prepared: Run, services: Services
) -> None:
    job, platform = trained(prepared, 1), Platform()
    watched = replace(services, launcher=platform)  # type: ignore[arg-type]
    cancel_unless_owned(job.name, prepared.evolve(jobs=(job,)), watched)
    assert platform.cancelled == []
    cancel_unless_owned(job.name, prepared, watched)
    assert platform.cancelled == [job.name]


def test_a_submission_that_lost_against_the_end_of_its_run_gives_its_reservation_back(
    prepared: Run, services: Services
) -> None:
    cost = CostEstimate(low_usd=10, high_usd=60, hourly_usd=1, low_hours=0, high_hours=1)
    limited = replace(services, config=replace(services.config, project_monthly_usd=100))
    run, platform = prepared.evolve(cost=cost), Platform()
    outcome = submitted(run, limited, platform)
    assert outcome.undo is not None
    outcome.undo(run.evolve(status=Status.CANCELLED))
    assert platform.cancelled == [f"{run.id}-training-1"]
    account = services.store.get(budget.account(run.project, run.created_at), budget.BUDGET)
    assert account is not None
    assert account.document["usd"] == {run.id: 0.0}
