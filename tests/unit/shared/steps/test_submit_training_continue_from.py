"""A training that continues from the adapter of the model in production."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import ValidationPassed
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, ResolvedRecipe
from shared.domain.run import Run
from shared.ports import Services
from shared.records import endpoints, runs
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.submit_training import submit_training, training_job, with_start
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import CURATED, drop

TINY = "droptune/tiny-llama"


def resolved(base_model: str = TINY, continue_from: str = "champion", **hyperparameters: Any) -> ResolvedRecipe:
    method = {"continue_from": continue_from, "hyperparameters": hyperparameters}
    recipe = Recipe.model_validate({"base_model": base_model, "method": method, "use_case": "claims"})
    return resolve(recipe, "shop", train_rows=100, characters_max=100)


def in_production(
    services: Services, recipe: ResolvedRecipe, run_id: str = "run-0123456789ab", model_sha256: str | None = None
) -> str:
    """Record a champion with its run, as a promotion leaves them."""
    champion = Run.model_validate(
        {
            "id": run_id,
            "project": "shop",
            "status": "deployed",
            "revision": 9,
            "attempt": 1,
            "created_at": services.clock.now(),
            "updated_at": services.clock.now(),
            "deadline_at": None,
            "dataset": {"path": "datasets/shop/a.jsonl", "etag": "1", "size_bytes": 1, "sha256": "0" * 64},
            "fingerprint": "f",
            "recipe": recipe,
            "model_sha256": model_sha256,
        }
    )
    services.store.batch(run_id, [runs.creation(champion)])
    record = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion=run_id,
        deployment="d-0123456789ab",
        model="shop:1",
        scoring_uri="http://x/",
        promoted_at=services.clock.now(),
    )
    endpoints.write(services.store, record, replacing=endpoints.read(services.store, "shop"))
    return run_id


def test_a_run_continues_from_the_adapter_in_production(services: Services, runner: Runner) -> None:
    champion = in_production(services, resolved(continue_from="base"))
    recipe = with_start(resolved(), services.store)
    assert recipe.continued_from == champion
    run = drop(services, runner)
    assert run is not None
    spec = training_job(run.model_copy(update={"recipe": recipe, "curated": CURATED}), services.config)
    assert spec.command.endswith(" --continue-from ${{inputs.adapter}}")
    assert spec.inputs["adapter"] == f"azureml://datastores/runs/paths/{champion}/model/adapter"


def test_a_run_from_the_base_gets_no_adapter(services: Services) -> None:
    in_production(services, resolved(continue_from="base"))
    assert with_start(resolved(continue_from="base"), services.store).continued_from is None


def test_a_later_attempt_continues_from_the_same_adapter_whatever_was_promoted_meanwhile(services: Services) -> None:
    first = in_production(services, resolved(continue_from="base"))
    recipe = with_start(resolved(), services.store)
    in_production(services, resolved(continue_from="base"), "run-ba9876543210")
    assert with_start(recipe, services.store).continued_from == first


@pytest.mark.parametrize(
    ("champion", "code", "says"),
    [
        (None, "no_champion", "there is no model in production at shop to continue from"),
        ({"base_model": "microsoft/Phi-4"}, "other_base_model", "was tuned from microsoft/Phi-4"),
        ({"lora_rank": 8}, "adapter_differs", "lora_rank: 8, lora_alpha: 16; set the same in the recipe"),
    ],
)
def test_what_cannot_be_continued_from_is_refused_before_a_job_is_submitted(
    champion: dict[str, Any] | None, code: str, says: str, services: Services
) -> None:
    if champion is not None:
        in_production(services, resolved(continue_from="base", **champion))
    with pytest.raises(PermanentFailure) as failure:
        with_start(resolved(), services.store)
    assert failure.value.failure_class is FailureClass.RECIPE
    assert (failure.value.problem.code, failure.value.problem.param) == (code, "method.continue_from")
    assert says in failure.value.problem.message


def test_no_project_continues_from_the_model_of_another_although_the_policy_gave_it_the_endpoint(
    services: Services,
) -> None:
    bank = {"base_model": TINY, "deployment": {"endpoint": "shop"}, "use_case": "claims"}
    in_production(services, resolve(Recipe.model_validate(bank), "bank", train_rows=100, characters_max=100))
    with pytest.raises(PermanentFailure, match="no_champion: the model in production at shop is of project bank"):
        with_start(resolved(), services.store)


@pytest.mark.parametrize("attempt", [1, 2], ids=["first", "a later one, which keeps what the first has found"])
def test_no_run_continues_from_an_adapter_that_was_changed_after_its_promotion(
    prepared: Run, services: Services, attempt: int
) -> None:
    champion = in_production(services, resolved(continue_from="base"), model_sha256="0" * 64)
    recipe = resolved() if attempt == 1 else with_start(resolved(), services.store)
    platform = Platform()
    ports = replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]
    passed = ValidationPassed(version="v1", train_rows=100, eval_rows=60)
    run = prepared.evolve(recipe=recipe)
    with pytest.raises(PermanentFailure, match=f"model_changed: the files of the model of {champion} "):
        submit_training(event_of(run, passed, run.created_at), run, ports)
    assert platform.jobs == []
