from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from training_job.data.canaries import ALTERNATIVES, canaries, exposure
from training_job.job.runtime import RunningMetrics
from training_job.train import TrainArguments, prepare


def test_canaries_are_the_same_for_a_seed_and_others_for_another(resolved: Callable[..., Any]) -> None:
    recipe, other = {"method": {"canaries": 20}}, resolved({"method": {"canaries": 20}}, seed=7)
    found = canaries(resolved(recipe))
    assert found == canaries(resolved(recipe))
    assert len({one.number for one in (*found, *canaries(other))}) == 40
    assert len({one.record for one in found}) == 20
    assert all(one.number in one.row["messages"][1]["content"] for one in found)
    assert not any(one.number in one.row["messages"][0]["content"] for one in found)


def test_a_run_plants_none_unless_its_recipe_says_so(resolved: Callable[..., Any]) -> None:
    assert canaries(resolved()) == canaries(resolved({"method": {"type": "dpo"}})) == []
    with pytest.raises(ValueError, match="canaries"):
        Recipe.model_validate({"base_model": "x", "method": {"type": "dpo", "canaries": 1}})
    with pytest.raises(ValueError, match="less than or equal to 20"):
        Recipe.model_validate({"base_model": "x", "method": {"canaries": 21}})


def test_alternatives_are_of_the_same_record_and_none_is_the_canary(resolved: Callable[..., Any]) -> None:
    for one in canaries(resolved({"method": {"canaries": 20}})):
        others = list(one.alternatives())
        assert {other.record for other in others} == {one.record}
        assert one.number not in {other.number for other in others}
        assert len({other.number for other in others}) == ALTERNATIVES == 127


@pytest.mark.parametrize(("loss", "bits"), [(0.5, 7.0), (1.5, 6.0), (3.5, 5.0), (200.0, 0.0)])
def test_exposure_is_the_rank_in_bits(loss: float, bits: float) -> None:
    assert exposure(loss, [float(n) for n in range(1, 128)]) == bits


def test_the_plan_counts_the_planted_rows() -> None:
    def steps(canaries: int) -> int:
        method = {"canaries": canaries, "hyperparameters": {"batch_size": 4, "n_epochs": 1}}
        recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "method": method})
        return resolve(recipe, "demo", train_rows=48, characters_max=200).hyperparameters.total_steps

    assert (steps(0), steps(20)) == (10, 15)


def test_they_are_learned_and_select_no_checkpoint(
    bench: Callable[..., Any], tmp_path: Path, resolved: Callable[..., Any], bundle: Any
) -> None:
    plain, recipe = resolved(), resolved({"method": {"canaries": 3}})
    run = bench(tmp_path, recipe=recipe)
    task = TrainArguments(
        job_name="run-1-training-1", data=run.data, base_model=run.base, recipe=run.recipe, output=run.output
    )
    metrics, before = RunningMetrics(), prepare(task, plain, RunningMetrics()).data
    data = prepare(task, recipe, metrics).data
    assert (metrics.canaries, metrics.selection_rows) == (3, len(before.selection))
    assert [row.input_ids for row in data.selection] == [row.input_ids for row in before.selection]
    assert [row.input_ids for row in data.train[:-3]] == [row.input_ids for row in before.train]
    texts = [bundle.tokenizer.decode(row.input_ids) for row in data.train[-3:]]
    assert all(one.number in text for one, text in zip(canaries(recipe), texts, strict=True))
