"""What each method settles and costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalog import find_entry, find_sku
from shared.domain.errors import PermanentFailure
from shared.domain.planning.memory import memory_plan
from shared.domain.planning.methods import selection_rows
from shared.domain.planning.plan import (
    HEADROOM,
    estimate_cost,
)
from tests.unit.shared.domain.planning.plans import METHODS, PHI, REWARDS, plan


def test_a_method_has_its_own_learning_rate_and_settings_each_with_a_reason() -> None:
    supervised, pairs, rewards = (plan(rows=400, **METHODS[name]) for name in METHODS)
    rates = [one.hyperparameters.learning_rate for one in (supervised, pairs, rewards)]
    assert rates == [3e-3, 5e-4, 7e-4]
    assert pairs.hyperparameters.beta == 0.1
    chosen = rewards.hyperparameters
    assert (chosen.rollouts_per_prompt, chosen.temperature, chosen.max_new_tokens, chosen.beta) == (8, 1.0, 256, 0.0)
    for one in (pairs, rewards):
        decided = set(type(one.hyperparameters).model_fields) - {"seed", "total_steps"}
        assert decided | {"training_instance_type", "serving_instance_type"} == set(one.reasons)
        assert one.hyperparameters.packing == "padded"


def test_a_given_setting_of_a_method_is_kept() -> None:
    resolved = plan(method={**REWARDS, "hyperparameters": {"rollouts_per_prompt": 4, "max_new_tokens": 24}})
    assert (resolved.hyperparameters.rollouts_per_prompt, resolved.hyperparameters.max_new_tokens) == (4, 24)
    assert resolved.reasons["rollouts_per_prompt"] == "set in the recipe"


@given(st.integers(1, 5000), st.integers(2, 64))
def test_answers_split_evenly_and_batches_of_prompts_are_never_more_than_there_are(rows, rollouts) -> None:
    method = {**REWARDS, "hyperparameters": {"rollouts_per_prompt": rollouts, "max_new_tokens": 16}}
    values = plan(PHI, rows=rows, characters=200, method=method).hyperparameters
    learned = rows - selection_rows(rows)
    assert values.batch_size <= learned
    assert values.batch_size * rollouts % values.micro_batch_size == 0
    assert values.total_steps == learned // values.batch_size * values.n_epochs >= 1


def test_a_prompt_and_its_answer_fit_the_context_together() -> None:
    roomy = plan(characters=900, method={**REWARDS, "hyperparameters": {"max_new_tokens": 1024}})
    assert roomy.hyperparameters.max_length_tokens == 4096 - 1024
    with pytest.raises(PermanentFailure) as failure:
        plan(characters=900, method={**REWARDS, "hyperparameters": {"max_new_tokens": 4090}})
    assert (failure.value.problem.code, failure.value.problem.param) == ("exceeds_context", "max_new_tokens")


def test_pairs_take_two_rows_of_memory_and_rollouts_keep_their_answers() -> None:
    entry = find_entry(PHI)
    one = plan(PHI, characters=1000).hyperparameters
    pair = plan(PHI, characters=1000, method={"type": "dpo"}).hyperparameters
    same = {"micro_batch_size": 2, "gradient_checkpointing": True}
    single, double = (memory_plan(entry, values.model_copy(update=same)) for values in (one, pair))
    assert double.activations_bytes == 2 * single.activations_bytes
    assert (single.generation_bytes, double.generation_bytes) == (0, 0)


def test_as_many_answers_are_sampled_at_once_as_fit() -> None:
    entry = find_entry(PHI)
    few, many = (
        plan(PHI, characters=characters, method={**REWARDS, "hyperparameters": {"max_new_tokens": answer}})
        for characters, answer in ((200, 32), (12_000, 2048))
    )
    assert few.hyperparameters.generation_batch_size == few.hyperparameters.batch_size * 8
    chosen = many.hyperparameters
    limit = find_sku(many.training_instance_type).memory_bytes * (1 - HEADROOM)
    assert 1 < chosen.generation_batch_size < chosen.batch_size * 8
    assert memory_plan(entry, chosen).total_bytes <= limit
    doubled = chosen.model_copy(update={"generation_batch_size": 2 * chosen.generation_batch_size})
    assert memory_plan(entry, doubled).total_bytes > limit


def test_comparing_pairs_and_sampling_answers_cost_more_than_reading_examples() -> None:
    counts: Any = {"train_rows": 2000, "eval_rows": 100, "tokens_mean": 900.0 / 3.6}
    costs = [estimate_cost(plan(PHI, rows=2000, characters=900, **METHODS[name]), **counts) for name in METHODS]
    assert costs[0].low_usd < costs[1].low_usd < costs[2].low_usd
    assert costs[0].high_usd < costs[1].high_usd < costs[2].high_usd


@pytest.mark.parametrize(
    ("rows", "selecting"), [(1, 0), (4, 0), (5, 1), (20, 4), (40, 8), (160, 8), (1200, 60), (4000, 200), (90_000, 200)]
)
def test_a_twentieth_of_the_rows_selects_and_never_more_than_a_fifth(rows, selecting) -> None:
    assert selection_rows(rows) == selecting
