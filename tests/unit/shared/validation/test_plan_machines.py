"""Which machine a whole plan ends up on when one GPU is too slow."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.dataset import Statistics
from shared.domain.errors import PermanentFailure
from shared.domain.planning.plan import check_budget
from shared.domain.recipe import Recipe
from shared.domain.results import TimeLimit
from shared.domain.tokens import TokenStatistics
from shared.validation.plan import plan_run

PHI = "microsoft/Phi-4"
ONE, FOUR, EIGHT = "Standard_NC24ads_A100_v4", "Standard_NC96ads_A100_v4", "Standard_ND96amsr_A100_v4"
ONE_H100, TWO_H100 = "Standard_NC40ads_H100_v5", "Standard_NC80adis_H100_v5"
# About 19 h of training at best on one A100.
ROWS = Statistics(train_rows=60_000, eval_rows=50, characters_max=4000)
COUNTED: Any = {"rows": 60_000, "tokens_mean": 2000.0, "tokens_max": 4000}
TOKENS = TokenStatistics.model_construct(**COUNTED)


def planned(*, method: str = "supervised", batch_size: int = 16, **budget):
    given = {"type": method, "hyperparameters": {"batch_size": batch_size, "n_epochs": 1}}
    recipe = Recipe(base_model=PHI, method=given, budget={"max_usd": 10_000.0, **budget})
    return plan_run(recipe, "logs", ROWS, TOKENS)


def test_one_gpu_is_taken_as_long_as_it_may_keep_the_deadline() -> None:
    alone, estimate = planned(deadline_hours=100)
    assert alone.training_instance_type == ONE
    just, _ = planned(deadline_hours=estimate.low_hours)
    assert just.training_instance_type == ONE


def test_a_faster_machine_is_taken_when_the_cheapest_cannot_keep_the_deadline_and_the_reason_says_so() -> None:
    _, alone = planned(deadline_hours=100)
    deadline = alone.low_hours * 0.3
    resolved, estimate = planned(deadline_hours=deadline)
    assert resolved.training_instance_type == TWO_H100
    assert estimate.low_hours <= deadline
    assert resolved.reasons["training_instance_type"] == (
        f"1 A100 takes at least {alone.low_hours:.1f} h, allowed are {deadline:g} h; 2 H100 NVL takes at least "
        f"{estimate.low_hours:.1f} h: the cheapest that may keep the deadline and 10000 USD"
    )
    assert planned(deadline_hours=alone.low_hours * 0.6)[0].training_instance_type == ONE_H100
    assert planned(deadline_hours=alone.low_hours * 0.15)[0].training_instance_type == EIGHT


def test_what_is_learned_does_not_depend_on_the_number_of_gpus() -> None:
    alone, estimate = planned(deadline_hours=100)
    several, _ = planned(deadline_hours=estimate.low_hours * 0.3)
    assert several.hyperparameters == alone.hyperparameters


def test_more_gpus_than_rows_of_a_batch_are_not_taken() -> None:
    _, alone = planned(deadline_hours=100, batch_size=2)
    soon = alone.low_hours * 0.15
    assert planned(deadline_hours=soon, batch_size=16)[0].training_instance_type == EIGHT
    assert planned(deadline_hours=soon, batch_size=4)[0].training_instance_type == ONE


def test_a_machine_beyond_the_budget_is_not_taken_and_the_run_is_refused() -> None:
    _, alone = planned(deadline_hours=100)
    deadline = alone.low_hours * 0.15
    _, several = planned(deadline_hours=deadline)
    resolved, estimate = planned(deadline_hours=deadline, max_usd=several.low_usd - 0.01)
    assert resolved.training_instance_type == ONE
    assert [problem.code for problem in check_budget(resolved.requested, estimate)] == ["over_deadline"]


def test_pairs_move_to_a_faster_gpu_but_not_to_several() -> None:
    _, alone = planned(method="dpo", deadline_hours=168)
    assert planned(method="dpo", deadline_hours=alone.low_hours * 0.6)[0].training_instance_type == ONE_H100
    assert planned(method="dpo", deadline_hours=alone.low_hours * 0.3)[0].training_instance_type == ONE


def test_nodes_share_the_training_and_each_is_paid_for() -> None:
    _, alone = planned(deadline_hours=100, tier="dedicated")
    _, estimate = planned(deadline_hours=100, tier="dedicated", nodes=2)
    evaluation_and_starts = 0.2
    assert estimate.low_hours == pytest.approx(alone.low_hours / 2, abs=evaluation_and_starts)
    assert alone.low_usd <= estimate.low_usd <= alone.low_usd + 3.67 * evaluation_and_starts
    budget: Any = {"max_usd": 100.0, "deadline_hours": 100, "tier": "dedicated"}
    seconds = [TimeLimit.of(planned(**budget, nodes=nodes)[0]).seconds for nodes in (1, 2)]
    assert seconds[0] == 2 * seconds[1]


def test_nodes_are_for_supervised_training_and_for_batches_that_reach_them() -> None:
    with pytest.raises(PermanentFailure) as failure:
        planned(method="dpo", nodes=2)
    assert (failure.value.problem.code, failure.value.problem.param) == ("multiple_nodes", "budget.nodes")
    with pytest.raises(PermanentFailure) as failure:
        planned(nodes=2, instance_type=FOUR, batch_size=4)
    assert (failure.value.problem.code, failure.value.problem.param) == ("batch_below_processes", "budget.nodes")
