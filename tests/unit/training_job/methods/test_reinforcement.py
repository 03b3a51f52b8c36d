"""GRPO: prompts from the curated file, rewards by graders, calibration before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from shared.domain.judges import Judges
from shared.rendering.check import LengthPolicy
from tests.judge_server import Reply, serve_judge
from training_job.job import exit_codes

# Of the answers of random weights some hold a letter and some do not; the evaluation looks for it in its own way.
GRADERS = [{"name": "letter", "type": "regex", "pattern": "{{item.letter}}"}]
EVALUATION_GRADERS = [{"name": "has", "type": "string_check", "operation": "like", "reference": "{{item.letter}}"}]
MEASURED = ("loss", "reward", "reward_spread", "share_equal_groups", "eval_reward", "tokens", "grad_norm")


def recipe_of(
    graders: list[dict[str, Any]] | None = None, evaluation_graders: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    method = {"type": "reinforcement", "graders": graders or GRADERS}
    return {"method": method, "evaluation": {"graders": evaluation_graders or EVALUATION_GRADERS}}


def prompt(n: int, **item: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is part {n}?"}]
    return {"messages": messages, "item": {"letter": "e", "answer": "see the list", **item}}


@pytest.fixture(scope="session")
def prompts() -> list[dict[str, Any]]:
    return [prompt(n) for n in range(40)]


@pytest.fixture(scope="session")
def grpo(
    bench: Callable[..., Any], endless_base: Path, write_data: Any, prompts: list[Any], resolved: Any
) -> Callable[..., Any]:
    """Make a bench for a GRPO run of ten steps, each of four prompts with four answers as long as they may be."""

    def make(folder: Path, recipe: dict[str, Any] | None = None, **settings: Any) -> Any:
        data = write_data(folder / "data", prompts, prompts[:6])
        chosen = {"learning_rate": 1e-4, "total_steps": 10, "n_epochs": 1, **settings}
        return bench(folder, base=endless_base, data=data, recipe=resolved(recipe or recipe_of(), **chosen))

    return make


@pytest.fixture(scope="session")
def rewarded(grpo: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = grpo(tmp_path_factory.mktemp("grpo"))
    assert run.train() == 0
    return run


def test_a_reinforcement_run_leaves_a_whole_model_and_what_it_watched(rewarded: Any) -> None:
    result = rewarded.result()
    assert (result.status, result.metrics.last_step, result.metrics.total_steps) == ("completed", 10, 10)
    assert {path.name for path in (rewarded.output / "model").iterdir()} == {"adapter", "merged", "manifest.json"}
    assert not list(rewarded.output.rglob("README.md"))
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


def test_the_calibration_is_kept_with_the_model(rewarded: Any) -> None:
    manifest = json.loads((rewarded.output / "model" / "manifest.json").read_text())
    found = manifest["calibration"]
    assert found["answers"] == 128
    assert found["agreement"] == pytest.approx(1.0)
    assert 0.05 < found["failing"] < 0.95
    assert found["problems"] == []
    assert manifest["merge"]["rows"] == 6


JUDGE = {
    "name": "liked",
    "type": "score_model",
    "endpoint": "judge",
    "input": [{"role": "user", "content": "Answer: {{sample.output_text}}"}],
}


@pytest.mark.parametrize(
    ("graders", "evaluation_graders"),
    [([JUDGE], EVALUATION_GRADERS), pytest.param(GRADERS, [JUDGE], marks=pytest.mark.slow)],
)
def test_a_judge_rewards_or_examines_and_is_calibrated_like_any_other_grader(
    graders: Any, evaluation_graders: Any, grpo: Callable[..., Any], as_job: Any, tmp_path: Path
) -> None:
    def scores_the_letter_e(requests: str) -> Reply:
        return Reply(json.dumps({"score": float("e" in requests.split("\n")[1]), "reason": "it has an e, or not"}))

    run, file = grpo(tmp_path, recipe_of(graders, evaluation_graders), total_steps=2), tmp_path / "judges.json"
    with serve_judge(scores_the_letter_e) as server:
        as_job(server)
        file.write_text(Judges(judges=(server.endpoint(),)).model_dump_json())
        assert run.train("--judges", str(file)) == 0
        assert run.train() == exit_codes.BY_CLASS[FailureClass.CODE]
    assert run.result().problem.code == "no_judges"
    manifest = json.loads((run.output / "model" / "manifest.json").read_text())
    assert (manifest["calibration"]["answers"], manifest["calibration"]["agreement"]) == (128, pytest.approx(1.0))
    assert all(point["reward_errors"] == 0 for point in run.metrics() if "loss" in point)


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


def test_prompts_have_the_tokens_that_are_asked_with_at_evaluation_and_that_trl_would_make(
    tmp_path: Path, tokenizer: Any, bundle: Any, write_data: Any, prompts: list[Any]
) -> None:
    from training_job.data.prompts import encode_prompts
    from training_job.evaluation.answers import question

    talk = {"messages": [{"role": "system", "content": "Be short."}, *prompts[3]["messages"]], "item": {}}
    data = write_data(tmp_path / "d", [prompts[0], talk], prompts[:1])
    read = encode_prompts(data / "train.jsonl", bundle, LengthPolicy(256, "reject")).rows
    for row, ours in zip((prompts[0], talk), read, strict=True):
        theirs = tokenizer.apply_chat_template([row["messages"]], add_generation_prompt=True, return_dict=True)
        assert ours.ids == theirs["input_ids"][0] == question(bundle, row, 1).ids


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


UNFIT = {
    "nothing is ever right": ([{"name": "never", "type": "regex", "pattern": "^$"}], None, "earn equal rewards"),
    "the evaluation wants the opposite": (
        None,
        [
            {
                "name": "has_not",
                "type": "python",
                "source": "def grade(sample, item): return float('e' not in sample['output_text'])",
            }
        ],
        "Spearman -1.00",
    ),
    "the evaluation tells nothing apart": (
        None,
        [{"name": "exact", "type": "string_check", "reference": "{{item.answer}}"}],
        "every answer the same score",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_reward_that_is_not_fit_is_refused_before_the_first_step(
    name: str, grpo: Callable[..., Any], tmp_path: Path
) -> None:
    graders, evaluation_graders, says = UNFIT[name]
    run = grpo(tmp_path, recipe_of(graders, evaluation_graders))
    assert run.train() == exit_codes.BY_CLASS[FailureClass.RECIPE]
    result = run.result()
    assert (result.problem.code, result.problem.param) == ("reward_not_fit", "method.graders")
    assert says in result.problem.message
    assert result.metrics.last_step == 0
    assert not (run.output / "model").exists()
    assert says in json.loads((run.output / "calibration.json").read_text())["problems"][0]


def test_a_grader_that_breaks_fails_the_run_instead_of_rewarding_nothing(
    grpo: Callable[..., Any], tmp_path: Path
) -> None:
    broken = [{"name": "broken", "type": "python", "source": "def grade(sample, item): return item['nowhere']"}]
    run = grpo(tmp_path, recipe_of(broken))
    assert run.train() == exit_codes.BY_CLASS[FailureClass.RECIPE]
    problem = run.result().problem
    assert (problem.code, problem.param) == ("grader_errors", "method.graders")
    assert "128 of 128 answers could not be graded: python_grader_runtime_error 128 times" in problem.message


def test_a_batch_of_more_prompts_than_there_are_is_refused(grpo: Callable[..., Any], tmp_path: Path) -> None:
    run = grpo(tmp_path, batch_size=64, micro_batch_size=64)
    assert run.train() == exit_codes.BY_CLASS[FailureClass.RECIPE]
    assert run.result().problem.code == "batch_beyond_data"


def test_a_prompt_that_is_too_long_is_never_cut(
    tmp_path: Path, bundle: Any, write_data: Any, prompts: list[Any]
) -> None:
    from shared.domain.errors import PermanentFailure
    from training_job.data.prompts import encode_prompts

    long = {"messages": [{"role": "user", "content": "bolt " * 200}], "item": {}}
    file = write_data(tmp_path / "d", [*prompts[:2], long], prompts[:1]) / "train.jsonl"
    dropped = encode_prompts(file, bundle, LengthPolicy(100, "drop"))
    assert (len(dropped.rows), dropped.dropped) == (2, [3])
    for policy in ("reject", "truncate"):
        with pytest.raises(PermanentFailure) as failure:
            encode_prompts(file, bundle, LengthPolicy(100, policy))
        assert failure.value.problem.code == "row_too_long"


def test_held_out_prompts_are_asked_without_an_answer_of_their_own(rewarded: Any, tmp_path: Path) -> None:
    merged = str(rewarded.output / "model" / "merged")
    assert rewarded.evaluate("--candidate", merged, output=tmp_path / "e") == 0
    rows = [json.loads(line) for line in (tmp_path / "e" / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["reference"] == ""
    assert set(rows[0]["scores"]) == {"base", "candidate"}


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
