"""GRPO: prompts from the curated file, rewards by graders, calibration before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from tests.unit.training_job.methods.support import recipe_of
from tests.unit.training_job.rows import prompt
from training_job.job import runtime

MEASURED = ("loss", "reward", "reward_spread", "share_equal_groups", "eval_reward", "tokens", "grad_norm")


def test_a_reinforcement_run_leaves_a_whole_model_and_what_it_watched(rewarded: Any) -> None:
    result = rewarded.result()
    assert (result.status, result.metrics.last_step, result.metrics.total_steps) == ("completed", 10, 10)
    assert {path.name for path in (rewarded.output / "model").iterdir()} == {"adapter", "merged", "manifest.json"}
    assert list(rewarded.output.rglob("README.md")) == [rewarded.output / "model" / "merged" / "README.md"]
    points = [point for point in rewarded.metrics() if "loss" in point]
    assert [point["step"] for point in points] == list(range(1, 11))
    watched = {"reward", "reward_spread", "share_equal_groups", "reward_errors", "answer_tokens", "share_cut_answers"}
    assert watched < points[0].keys()
    assert 0 < points[0]["reward"] < 1
    held_out = [point for point in rewarded.metrics() if "eval_reward" in point]
    assert [point["step"] for point in held_out] == list(range(1, 11))
    assert result.metrics.measures["eval_reward_gap"] == pytest.approx(
        points[-1]["reward"] - held_out[-1]["eval_reward"]
    )
    assert result.metrics.processed_tokens == points[-1]["tokens"] > 16 * 10 * 8


@pytest.mark.slow
def test_a_reinforcement_run_killed_at_any_moment_continues_to_the_same_weights(
    rewarded: Any, grpo: Callable[..., Any], tmp_path: Path
) -> None:
    run = grpo(tmp_path)
    run.train_and_kill()
    assert run.train() == 0
    resumed, straight = run.adapter(), rewarded.adapter()
    assert max((resumed[name] - straight[name]).abs().max().item() for name in straight) == 0.0
    assert run.curve(*MEASURED) == rewarded.curve(*MEASURED)


def test_the_order_of_prompts_is_a_matter_of_seed_and_epoch_alone() -> None:
    import torch

    from training_job.methods.reinforcement import SeededRepeats

    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(7)
        sampler = SeededRepeats(range(40), mini_repeat_count=2, batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2) != order(2, 2)
    assert sorted(order(1, 1)) == sorted([*range(40), *range(40)])


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("at_once", [1, 4, 16])
def test_answers_are_sampled_in_parts_and_come_in_the_order_of_their_prompts(
    at_once: int, grpo: Callable[..., Any], tmp_path: Path
) -> None:
    trainer = grpo(tmp_path, generation_batch_size=at_once, temperature=1e-6).trainer()
    requests = [[1, *range(3, 3 + n)] for n in range(1, 9)]
    together = trainer.answers(requests)
    assert together == [trainer.answers([one])[0] for one in requests]


def test_adapters_are_in_float32_and_the_base_keeps_its_kernel(grpo: Callable[..., Any], tmp_path: Path) -> None:
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    trainer = grpo(tmp_path).trainer()
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}
    quantized = [m for m in trainer.model.modules() if isinstance(m, Linear4bit)]
    assert quantized
    assert not any(m.support_avx512bf16_for_cpu for m in quantized)


def test_a_grader_that_breaks_fails_the_run_instead_of_rewarding_nothing(
    grpo: Callable[..., Any], tmp_path: Path
) -> None:
    broken = [{"name": "broken", "type": "python", "source": "def grade(sample, item): return item['nowhere']"}]
    run = grpo(tmp_path, recipe_of(broken))
    assert run.train() == runtime.EXIT_CODES[FailureClass.RECIPE]
    problem = run.result().problem
    assert (problem.code, problem.param) == ("grader_errors", "method.graders")
    assert "128 of 128 answers could not be graded: python_grader_runtime_error 128 times" in problem.message


def test_a_batch_of_more_prompts_than_there_are_is_refused(grpo: Callable[..., Any], tmp_path: Path) -> None:
    run = grpo(tmp_path, batch_size=64, micro_batch_size=64)
    assert run.train() == runtime.EXIT_CODES[FailureClass.RECIPE]
    assert run.result().problem.code == "batch_beyond_data"


@pytest.mark.ci
def test_held_out_prompts_are_asked_without_an_answer_of_their_own(rewarded: Any, tmp_path: Path) -> None:
    merged = str(rewarded.output / "model" / "merged")
    assert rewarded.evaluate("--candidate", merged, output=tmp_path / "e") == 0
    rows = [json.loads(line) for line in (tmp_path / "e" / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["reference"] == ""
    assert set(rows[0]["scores"]) == {"base", "candidate"}


@pytest.mark.ci
def test_without_a_reference_the_loss_has_no_divergence_and_with_one_it_does(
    rewarded: Any, grpo: Callable[..., Any], tmp_path: Path
) -> None:
    assert not any("kl" in point for point in rewarded.metrics())
    run = grpo(tmp_path, beta=0.1, total_steps=3)
    assert run.train() == 0
    divergences = [point["kl"] for point in run.metrics() if "kl" in point]
    assert divergences[0] == pytest.approx(0, abs=1e-6)
    assert divergences[-1] > 0


@pytest.mark.slow
def test_answers_are_sampled_and_learned_from_in_bfloat16_as_on_a_gpu(grpo: Callable[..., Any], tmp_path: Path) -> None:
    run = grpo(tmp_path, compute_dtype="bfloat16", total_steps=3)
    assert run.train() == 0
    assert [point["step"] for point in run.metrics() if "reward" in point] == [1, 2, 3]


@pytest.mark.slow
def test_rewards_are_learned_and_hold_for_prompts_never_seen(
    bench: Any, endless_base: Path, tmp_path: Path, write_data: Any, resolved: Any
) -> None:
    rows = [prompt(n, letter="h") for n in range(160)]
    recipe = resolved(
        recipe_of(),
        n_epochs=4,
        total_steps=60,
        batch_size=8,
        micro_batch_size=64,
        generation_batch_size=64,
        rollouts_per_prompt=8,
        max_new_tokens=5,
        learning_rate=1e-2,
    )
    data = write_data(tmp_path / "d", rows[:120], rows[120:])
    run = bench(tmp_path, base=endless_base, data=data, recipe=recipe)
    assert run.train() == 0
    rewards = [point["reward"] for point in run.metrics() if "reward" in point]
    held_out = [point["eval_reward"] for point in run.metrics() if "eval_reward" in point]
    assert sum(rewards[:3]) / 3 < 0.5
    assert sum(rewards[-3:]) / 3 > 0.8
    assert held_out[-1] > 0.8
    assert json.loads((run.output / "calibration.json").read_text())["reward_mean"] < 0.5
