"""A training that continues from the adapter of the model in production."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, ResolvedRecipe
from shared.domain.run import Run
from shared.ports import Services
from shared.records import endpoints, runs
from shared.runner import Runner
from shared.steps.submit_training import training_job, with_start
from tests.unit.shared.support import CURATED, drop

TINY = "droptune/tiny-llama"


def resolved(base_model: str = TINY, continue_from: str = "champion", **hyperparameters: Any) -> ResolvedRecipe:
    method = {"continue_from": continue_from, "hyperparameters": hyperparameters}
    recipe = Recipe.model_validate({"base_model": base_model, "method": method, "use_case": "claims"})
    return resolve(recipe, "shop", train_rows=100, characters_max=100)


def in_production(services: Services, recipe: ResolvedRecipe, run_id: str = "run-0123456789ab") -> str:
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
