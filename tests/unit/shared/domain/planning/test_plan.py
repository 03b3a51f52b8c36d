"""Plans of the offered models, held in tests/golden/recipes. UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalog import find_entry, find_sku, offer
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.memory import lora_parameters, memory_plan
from shared.domain.planning.plan import (
    HEADROOM,
    check_budget,
    estimate_cost,
    resolve,
)
from shared.domain.recipe import Recipe
from tests.paths import ROOT
from tests.unit.shared.domain.planning.plans import METHODS, PHI, REWARDS, TINY, hyperparameters, plan

GOLDEN = ROOT / "tests" / "golden/recipes"


LARGEST = "meta-llama/Llama-3.3-70B-Instruct"
LARGE = ["meta-llama/Llama-3.1-8B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3", PHI]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base_model", [*LARGE, TINY])
def test_the_plan_of_an_offered_model_stays_as_it_was_reviewed(base_model, method) -> None:
    check_golden(
        f"{base_model.split('/')[1]}{method}", base_model, 4000 if base_model != TINY else 900, METHODS[method]
    )


@pytest.mark.parametrize(("name", "characters"), [("Llama-3.3-70B-Instruct", 4000), ("Llama-3.3-70B-in-parts", 17_000)])
def test_the_plan_of_a_model_beyond_one_gpu_stays_as_it_was_reviewed(name, characters) -> None:
    check_golden(name, LARGEST, characters, {})


def check_golden(name: str, base_model: str, characters: int, settings: dict[str, Any]) -> None:
    resolved = plan(base_model, rows=2000, characters=characters, **settings)
    gpus = max(1, find_sku(resolved.training_instance_type).gpus)
    memory = memory_plan(find_entry(base_model), resolved.hyperparameters, gpus=gpus)
    cost = estimate_cost(resolved, train_rows=2000, eval_rows=200, tokens_mean=1500 / 3.6)
    found = {
        "resolved": resolved.model_dump(mode="json"),
        "memory_plan": {**memory.model_dump(), "total_bytes": memory.total_bytes},
        "cost": cost.model_dump(),
    }
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))


def test_the_large_models_run_on_one_a100_with_room_to_spare() -> None:
    for base_model in LARGE:
        resolved = plan(base_model, characters=6000)
        assert resolved.training_instance_type == "Standard_NC24ads_A100_v4"
        total = memory_plan(find_entry(base_model), resolved.hyperparameters).total_bytes
        assert total <= find_sku(resolved.training_instance_type).memory_bytes * (1 - HEADROOM)


@pytest.mark.parametrize(
    ("rows", "epochs"), [(10, 12), (3, 25), (41, 3), (42, 3), (1500, 3), (8534, 2), (20_000, 1), (90_000, 1)]
)
def test_epochs_follow_the_public_heuristic(rows, epochs) -> None:
    assert plan(rows=rows).hyperparameters.n_epochs == epochs


def test_every_auto_value_has_its_reason_and_a_given_one_says_so() -> None:
    resolved = plan(**hyperparameters(n_epochs=2, learning_rate=1e-3))
    assert (resolved.hyperparameters.n_epochs, resolved.hyperparameters.learning_rate) == (2, 1e-3)
    given = {name for name, why in resolved.reasons.items() if why == "set in the recipe"}
    assert given == {"n_epochs", "learning_rate"}
    decided = set(type(resolved.hyperparameters).model_fields) - {"seed", "total_steps"}
    assert decided | {"training_instance_type", "serving_instance_type"} == set(resolved.reasons)


def test_the_tiny_base_gets_what_was_measured_to_work() -> None:
    resolved = plan()
    values = resolved.hyperparameters
    assert (values.learning_rate, values.batch_size, values.micro_batch_size) == (3e-3, 8, 8)
    assert (values.lora_rank, values.lora_alpha, values.compute_dtype) == (16, 32, "float32")
    assert (values.gradient_checkpointing, values.total_steps) == (False, 537)
    assert (resolved.training_instance_type, resolved.serving_instance_type) == ("Local_CPU", "Local_CPU")


def test_the_endpoint_is_the_project_unless_the_recipe_names_one() -> None:
    assert plan().endpoint == "part-codes"
    assert plan(deployment={"endpoint": "parts-eu"}).endpoint == "parts-eu"


@given(st.integers(1, 100_000), st.integers(0, 50_000), st.sampled_from([TINY, PHI]))
def test_batches_split_evenly_and_lengths_stay_in_the_context(rows, characters, base_model) -> None:
    values = plan(base_model, rows, characters).hyperparameters
    assert values.batch_size % values.micro_batch_size == 0
    assert values.max_length_tokens <= find_entry(base_model).context_tokens
    assert values.total_steps >= 1


def test_a_longer_row_than_the_context_is_cut_off_by_auto_and_refused_when_given() -> None:
    assert plan(characters=100_000).hyperparameters.max_length_tokens == 4096
    with pytest.raises(PermanentFailure) as failure:
        plan(**hyperparameters(max_length_tokens=5000))
    assert failure.value.problem.code == "exceeds_context"


def test_what_cannot_fit_is_refused_before_a_machine_is_asked_for() -> None:
    with pytest.raises(PermanentFailure) as failure:
        plan("meta-llama/Llama-3.1-8B-Instruct", characters=131_000)
    assert failure.value.failure_class is FailureClass.RECIPE
    assert failure.value.problem.code == "does_not_fit"
    assert failure.value.problem.param == "method.hyperparameters"


def test_a_machine_too_small_to_serve_the_model_is_refused() -> None:
    with pytest.raises(PermanentFailure) as failure:
        plan(PHI, deployment={"instance_type": "Standard_NC4as_T4_v3"})
    assert (failure.value.problem.code, failure.value.problem.param) == (
        "does_not_fit",
        "deployment.instance_type",
    )


def test_a_refused_model_has_no_plan() -> None:
    with pytest.raises(PermanentFailure) as failure:
        plan("mistralai/Codestral-22B-v0.1")
    assert failure.value.failure_class is FailureClass.LICENSE


def test_checkpointing_saves_memory_and_is_used_only_where_it_is_needed() -> None:
    entry = find_entry(PHI)
    short, long = plan(PHI, characters=500), plan(PHI, characters=12_000)
    assert not short.hyperparameters.gradient_checkpointing
    assert long.hyperparameters.gradient_checkpointing
    without = long.hyperparameters.model_copy(update={"gradient_checkpointing": False})
    assert memory_plan(entry, without).total_bytes > memory_plan(entry, long.hyperparameters).total_bytes


def test_the_options_of_lora_come_from_the_recipe_or_from_their_rules() -> None:
    requested: dict[str, Any] = {"lora_rank": 8, "lora_alpha": 24, "rslora": False, "dora": True, "lora_dropout": 0.1}
    requested |= {"quantization": "none", "packing": "padded", "optimizer": "paged_adamw_8bit"}
    given, automatic = plan(**hyperparameters(**requested)), plan()
    assert given.hyperparameters.model_dump(include=set(requested)) == requested
    assert {given.reasons[name] for name in requested} == {"set in the recipe"}
    values = automatic.hyperparameters
    assert (values.rslora, values.dora, values.lora_dropout) == (True, False, 0.0)
    assert (values.quantization, values.packing, values.optimizer) == ("nf4", "packed", "adamw")


def test_the_memory_model_follows_quantization_rank_and_optimizer() -> None:
    entry, chosen = find_entry(PHI), plan(PHI, characters=4000).hyperparameters

    def part(name: str, **changes) -> Any:
        return getattr(memory_plan(entry, chosen.model_copy(update=changes)), name)

    assert part("base_weights_bytes", quantization="none") == pytest.approx(part("base_weights_bytes") * 2 / 0.516)
    assert part("workspace_bytes") > part("workspace_bytes", quantization="none") == 0
    assert part("adapters_bytes", lora_rank=32) == 2 * part("adapters_bytes")
    assert part("adapters_bytes", optimizer="paged_adamw_8bit") == part("adapters_bytes") * 12 / 18
    assert part("adapters_bytes", dora=True) > part("adapters_bytes")


def test_moments_go_to_eight_bit_only_where_nothing_else_makes_the_run_fit() -> None:
    entry, a100 = find_entry(PHI), find_sku("Standard_NC24ads_A100_v4")
    least = plan(PHI, characters=4000, **hyperparameters(lora_rank=128)).hyperparameters.model_copy(
        update={"micro_batch_size": 1, "gradient_checkpointing": True}
    )
    eight_bit = least.model_copy(update={"optimizer": "paged_adamw_8bit"})
    between = (memory_plan(entry, least).total_bytes + memory_plan(entry, eight_bit).total_bytes) / 2
    tight = {"name": "tight", "gpus": 2, "usd_per_hour": 1.0, "memory_bytes": int(between / (1 - HEADROOM))}

    def chosen(**values):
        recipe = Recipe(base_model=PHI, **hyperparameters(lora_rank=128, **values))
        skus = (a100.model_copy(update=tight), a100)
        return resolve(recipe, "part-codes", train_rows=1500, characters_max=4000, skus=skus)

    automatic = chosen()
    assert (automatic.training_instance_type, automatic.hyperparameters.optimizer) == ("tight", "paged_adamw_8bit")
    assert "only with" in automatic.reasons["optimizer"]
    assert chosen(optimizer="adamw").training_instance_type == a100.name


def test_a_machine_the_recipe_names_is_taken_and_its_gpus_share_the_work() -> None:
    several, one = plan(PHI, budget={"instance_type": "Standard_NC96ads_A100_v4"}), plan(PHI)
    assert several.training_instance_type == "Standard_NC96ads_A100_v4"
    assert several.reasons["training_instance_type"] == "set in the recipe"
    counts: Any = {"train_rows": 20_000, "eval_rows": 0, "tokens_mean": 80.0 / 3.6}
    low, alone = (estimate_cost(each, **counts).low_hours - 0.2 for each in (several, one))
    assert low == pytest.approx(alone / 4, abs=0.01)
    with pytest.raises(PermanentFailure, match="unknown_instance_type"):
        plan(budget={"instance_type": "Standard_Nothing"})
    with pytest.raises(PermanentFailure, match="multiple_gpus"):
        plan(PHI, budget={"instance_type": "Standard_NC96ads_A100_v4"}, method={"type": "dpo"})


def test_a_base_is_kept_in_parts_only_where_no_single_gpu_holds_the_run() -> None:
    short, long = plan(LARGEST, characters=4000), plan(LARGEST, characters=17_000)
    assert (short.training_instance_type, short.hyperparameters.sharding) == ("Standard_NC48ads_A100_v4", "none")
    assert (long.training_instance_type, long.hyperparameters.sharding) == ("Standard_NC48ads_A100_v4", "full")
    assert long.reasons["sharding"] == "no single GPU holds the run: each of 2 keeps a part of the base"
    entry, chosen = find_entry(LARGEST), long.hyperparameters
    two, eight = (memory_plan(entry, chosen, gpus=gpus).base_weights_bytes for gpus in (2, 8))
    whole = memory_plan(entry, chosen.model_copy(update={"sharding": "none"})).base_weights_bytes
    constants = whole * 0.016 / 0.516
    assert [two - constants, eight - constants] == pytest.approx([(whole - constants) / 2, (whole - constants) / 8])


def test_a_base_whose_merged_model_no_machine_holds_for_the_method_is_refused() -> None:
    assert plan(LARGEST, characters=1000).training_instance_type == "Standard_NC48ads_A100_v4"
    with pytest.raises(PermanentFailure) as failure:
        plan(LARGEST, characters=1000, method={"type": "dpo"})
    assert (failure.value.problem.code, failure.value.problem.param) == ("does_not_fit", "base_model")
    assert "141.1 GB" in failure.value.problem.message


def test_a_run_that_is_compared_with_the_adapter_it_continues_from_keeps_a_frozen_copy() -> None:
    entry = find_entry(PHI)
    rewards = {**REWARDS, "hyperparameters": {"beta": 0.1}}
    for method, copies in (({"type": "dpo"}, 1), (rewards, 1), (REWARDS, 0), ({"type": "supervised"}, 0)):
        chosen = plan(PHI, characters=4000, method=method).hyperparameters
        alone, continued = (memory_plan(entry, chosen, continued=each) for each in (False, True))
        assert alone.reference_bytes == 0
        assert continued.reference_bytes == copies * 4 * lora_parameters(entry, chosen.lora_rank)
        assert continued.total_bytes - alone.total_bytes == continued.reference_bytes


def test_the_frozen_copy_counts_when_a_machine_is_chosen() -> None:
    a100 = find_sku("Standard_NC24ads_A100_v4")
    given = {"type": "dpo", "hyperparameters": {"lora_rank": 256, "batch_size": 1}}
    alone = memory_plan(find_entry(PHI), plan(PHI, method=given).hyperparameters).total_bytes
    just = {"name": "just", "usd_per_hour": 1.0, "memory_bytes": int(alone / (1 - HEADROOM)) + 1}

    def without_recomputation(start: str) -> bool:
        recipe = Recipe(base_model=PHI, method={**given, "continue_from": start})
        skus = (a100.model_copy(update=just),)
        resolved = resolve(recipe, "part-codes", train_rows=1500, characters_max=100, skus=(*skus, a100))
        return resolved.training_instance_type == "just" and not resolved.hyperparameters.gradient_checkpointing

    assert without_recomputation("base")
    assert not without_recomputation("champion")


def test_the_laptop_costs_nothing_and_a_gpu_costs_a_range() -> None:
    counts: Any = {"train_rows": 1500, "eval_rows": 100, "tokens_mean": 80.0 / 3.6}
    local = estimate_cost(plan(), **counts)
    assert (local.low_usd, local.high_usd, local.hourly_usd) == (0, 0, 0)
    spot = estimate_cost(plan(PHI), **counts)
    dedicated = estimate_cost(plan(PHI, budget={"tier": "dedicated"}), **counts)
    assert 0 < spot.low_usd < spot.high_usd
    assert (spot.hourly_usd, dedicated.hourly_usd) == (0.60, 3.67)
    assert spot.high_hours > dedicated.high_hours


def test_a_budget_or_deadline_below_the_low_end_is_refused_and_one_above_is_not() -> None:
    resolved = plan(PHI, rows=20_000, characters=8000)
    estimate = estimate_cost(resolved, train_rows=20_000, eval_rows=500, tokens_mean=6000 / 3.6)

    def codes(**budget) -> list[str]:
        recipe = Recipe(base_model=PHI, budget=budget)
        return [problem.code for problem in check_budget(recipe, estimate)]

    assert codes(max_usd=estimate.low_usd - 0.01) == ["over_budget"]
    assert codes(max_usd=estimate.low_usd + 0.01) == []
    assert codes(deadline_hours=estimate.low_hours / 2) == ["over_deadline"]


def test_rows_of_an_architecture_that_cannot_pack_are_padded_and_packed_ones_are_refused(own_gemma2: str) -> None:
    chosen = plan(own_gemma2)
    assert chosen.hyperparameters.packing == "padded"
    assert chosen.reasons["packing"] == "rows of this architecture cannot be packed: soft caps on attention and logits"
    with pytest.raises(PermanentFailure) as caught:
        plan(own_gemma2, method={"hyperparameters": {"packing": "packed"}})
    problem = caught.value.problem
    assert (caught.value.failure_class, problem.code) == (FailureClass.RECIPE, "packing_not_possible")
    assert problem.param == "method.hyperparameters.packing"


def test_scores_and_logits_count_where_rows_are_plain(own_gemma2: str) -> None:
    entry, values = find_entry(own_gemma2), plan(own_gemma2).hyperparameters
    plain = memory_plan(entry, values)
    packs = entry.model_copy(update={"architecture": entry.dims.model_copy(update={"model_type": "gemma3_text"})})
    assert plain.activations_bytes > memory_plan(packs, values).activations_bytes
    longer = memory_plan(entry, values.model_copy(update={"max_length_tokens": 2 * values.max_length_tokens}))
    assert longer.activations_bytes > 2.1 * plain.activations_bytes
    assert longer.logits_bytes == 2 * plain.logits_bytes


@pytest.fixture
def own_gemma2() -> Iterator[str]:
    dims = find_entry("meta-llama/Llama-3.1-8B-Instruct").dims.model_copy(update={"model_type": "gemma2"})
    entry = find_entry("mistralai/Mistral-7B-Instruct-v0.3").model_copy(
        update={"id": "acme/gemma2", "architecture": dims}
    )
    offer([entry])
    yield entry.id
    offer([])
