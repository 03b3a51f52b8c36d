"""DPO: preference pairs from the curated file to the merged model."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.catalog import find_entry
from shared.domain.errors import FailureClass
from shared.domain.planning.memory import memory_plan
from shared.domain.recipe import ResolvedRecipe
from shared.rendering.check import LengthPolicy
from tests.unit.training_job.rows import pair
from training_job.job import runtime

DPO = {"method": {"type": "dpo"}}
MEASURED = ("loss", "reward_accuracy", "reward_margin", "eval_loss", "eval_reward_accuracy", "tokens")


@pytest.fixture(scope="session")
def dpo(bench: Callable[..., Any], write_data: Any, pairs: list[Any], resolved: Any) -> Callable[..., Any]:
    """Make a bench for a DPO run of ten steps."""

    def make(folder: Path, **recipe: Any) -> Any:
        data = write_data(folder / "data", pairs, pairs[:6])
        return bench(folder, data=data, recipe=resolved(DPO, **recipe))

    return make


@pytest.fixture(scope="session")
def compared(dpo: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = dpo(tmp_path_factory.mktemp("dpo"))
    assert run.train() == 0
    return run


def test_a_dpo_run_leaves_a_whole_model_and_what_it_watched(compared: Any) -> None:
    result = compared.result()
    assert (result.status, result.metrics.last_step, result.metrics.total_steps) == ("completed", 10, 10)
    assert {path.name for path in (compared.output / "model").iterdir()} == {"adapter", "merged", "manifest.json"}
    assert list(compared.output.rglob("README.md")) == [compared.output / "model" / "merged" / "README.md"]
    first, *_, last = [point for point in compared.metrics() if "loss" in point]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)  # before its first update a model is its own reference
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < 0.6
    assert last["reward_margin"] > 0.1
    assert set(result.metrics.measures) == {
        *("reward_accuracy", "reward_margin", "eval_reward_accuracy", "eval_reward_margin"),
    }
    manifest = json.loads((compared.output / "model" / "manifest.json").read_text())
    assert manifest["metrics"]["measures"]["reward_margin"] == last["reward_margin"]
    assert manifest["continued_from"] is None
    assert manifest["merge"]["rows"] == 5


def test_both_answers_are_counted_in_the_tokens(compared: Any, bundle: Any) -> None:
    from training_job.data.chat_rows import encode_pairs
    from training_job.data.selection import selected

    file = compared.data / "train.jsonl"
    chosen = selected(file.read_bytes().splitlines(), None, 42)
    pairs = encode_pairs(file, bundle, LengthPolicy(256, "reject")).rows
    read = [pair for i, pair in enumerate(pairs) if i not in chosen]
    total = sum(len(one.chosen.input_ids) + len(one.rejected.input_ids) for one in read)
    assert compared.result().metrics.processed_tokens == 2 * total


# As test_training_runs has it for supervised runs.
@pytest.mark.slow
def test_a_dpo_run_killed_at_any_moment_continues_to_the_same_weights(
    compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    run = dpo(tmp_path)
    run.train_and_kill()
    assert run.train() == 0
    resumed, straight = run.adapter(), compared.adapter()
    assert max((resumed[name] - straight[name]).abs().max().item() for name in straight) == 0.0
    assert run.curve(*MEASURED) == compared.curve(*MEASURED)


def test_a_batch_is_laid_out_as_trls_own(tokenizer: Any, tmp_path: Path, bundle: Any, pairs: list[Any]) -> None:
    import torch
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from training_job.methods.preference import Collator

    prompt, chosen, rejected = [1, 5, 6], [7, 8, 2], [9, 2]
    ours = Collator(0)(
        [
            {
                "chosen_ids": prompt + chosen,
                "chosen_labels": [-100] * 3 + chosen,
                "rejected_ids": prompt + rejected,
                "rejected_labels": [-100] * 3 + rejected,
            }
        ]
    )
    theirs = DataCollatorForPreference(0)([{"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_adapters_are_in_float32_and_the_base_keeps_its_training_kernel(
    dpo: Callable[..., Any], tmp_path: Path
) -> None:
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    trainer = dpo(tmp_path).trainer()
    adapters = [p for p in trainer.model.parameters() if p.requires_grad]
    assert {p.dtype for p in adapters} == {torch.float32}
    quantized = [m for m in trainer.model.modules() if isinstance(m, Linear4bit)]
    assert quantized
    assert not any(m.support_avx512bf16_for_cpu for m in quantized)


@pytest.mark.ci
def test_a_run_that_continues_is_compared_with_the_adapter_it_started_from(
    compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    adapter = compared.output / "model" / "adapter"
    run = dpo(tmp_path, continued_from="run-0123456789ab")
    assert run.train("--continue-from", str(adapter)) == 0
    first = next(point for point in run.metrics() if "loss" in point)
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-2)  # its reference is a copy of the adapter, in 16 bit
    assert {path.name for path in (run.output / "model" / "adapter").iterdir() if path.is_dir()} == set()
    started, ended = compared.adapter(), run.adapter()
    assert started.keys() == ended.keys()
    assert any((started[name] - ended[name]).abs().max() > 1e-3 for name in started)
    manifest = json.loads((run.output / "model" / "manifest.json").read_text())
    assert manifest["continued_from"]["run"] == "run-0123456789ab"
    assert len(manifest["continued_from"]["adapter_sha256"]) == 64


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_frozen_copy_takes_what_the_memory_plan_counts(
    dtype: str, compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    run = dpo(tmp_path, continued_from="run-0123456789ab", compute_dtype=dtype)
    trainer = run.trainer(compared.output / "model" / "adapter")
    copies = [tensor for name, tensor in trainer.model.named_parameters() if ".ref." in name]
    chosen = ResolvedRecipe.model_validate_json(run.recipe.read_bytes()).hyperparameters
    plan = memory_plan(find_entry("droptune/tiny-llama"), chosen, continued=True)
    assert sum(tensor.nbytes for tensor in copies) == plan.reference_bytes > 0


@pytest.mark.slow
def test_a_run_that_continues_is_resumed_to_the_same_weights(
    compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    more = ("--continue-from", str(compared.output / "model" / "adapter"))
    straight, killed = (dpo(tmp_path / name, continued_from="run-0123456789ab") for name in ("straight", "killed"))
    assert straight.train(*more) == 0
    killed.train_and_kill(*more)
    assert killed.train(*more) == 0
    weights, expected = killed.adapter(), straight.adapter()
    assert max((weights[name] - expected[name]).abs().max().item() for name in expected) == 0.0
    assert killed.curve(*MEASURED) == straight.curve(*MEASURED)


def test_an_adapter_that_starts_with_another_loss_than_it_was_saved_with_is_refused(
    compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(compared.output / "model" / "adapter", adapter)
    mark = json.loads((adapter / "complete.json").read_text())
    (adapter / "complete.json").write_text(json.dumps(mark | {"fixed_loss": mark["fixed_loss"] * 0.85}))
    run = dpo(tmp_path, continued_from="run-0123456789ab")
    assert run.train("--continue-from", str(adapter)) == runtime.EXIT_CODES[FailureClass.CODE]
    assert run.result().problem.code == "loss_differs"


@pytest.mark.parametrize("given", [True, False], ids=["an adapter nobody asked for", "no adapter where one is due"])
def test_the_recipe_and_the_job_agree_on_the_start(
    given: bool, compared: Any, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    run = dpo(tmp_path, continued_from=None if given else "run-0123456789ab")
    more = ("--continue-from", str(compared.output / "model" / "adapter")) if given else ()
    assert run.train(*more) == runtime.EXIT_CODES[FailureClass.CODE]
    assert run.result().problem.code == "wrong_start"


def test_an_adapter_of_another_shape_is_refused(compared: Any, dpo: Callable[..., Any], tmp_path: Path) -> None:
    run = dpo(tmp_path, continued_from="run-0123456789ab", lora_rank=8, lora_alpha=16)
    assert run.train("--continue-from", str(compared.output / "model" / "adapter")) == 11
    problem = run.result().problem
    assert (problem.code, problem.param) == ("adapter_differs", "method.continue_from")
    assert "r 4 and not 8" in problem.message


@pytest.mark.parametrize(
    ("row", "code", "says"),
    [
        ({"messages": [{"role": "user", "content": "secret"}]}, "bad_row", "1 row not rows of this method: row 3"),
        (pair(1, rejected="secret " * 300), "row_too_long", "1 row longer than 256 tokens: row 3"),
    ],
)
def test_rows_that_are_no_pairs_or_too_long_are_named_and_not_quoted(
    row: dict[str, Any],
    code: str,
    says: str,
    bench: Any,
    tmp_path: Path,
    write_data: Any,
    resolved: Any,
    pairs: list[Any],
) -> None:
    data = write_data(tmp_path / "d", [*pairs[:2], row], pairs[:2])
    run = bench(tmp_path, data=data, recipe=resolved(DPO))
    assert run.train() == runtime.EXIT_CODES[FailureClass.DATA]
    problem = run.result().problem
    assert problem.code == code
    assert says in problem.message
    assert "secret" not in run.result().model_dump_json()


def test_the_held_out_pairs_are_asked_and_their_preferred_answer_is_the_reference(
    compared: Any, tmp_path: Path
) -> None:
    merged = str(compared.output / "model" / "merged")
    assert compared.evaluate("--candidate", merged, output=tmp_path / "e") == 0
    rows = [json.loads(line) for line in (tmp_path / "e" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert rows[2]["reference"] == "a bolt of 2 mm"


@pytest.mark.ci
@pytest.mark.parametrize("quantization", ["nf4", pytest.param("none", marks=pytest.mark.slow)])
def test_pairs_are_learned_from_in_bfloat16_as_on_a_gpu(
    quantization: str, dpo: Callable[..., Any], tmp_path: Path
) -> None:
    run = dpo(tmp_path, compute_dtype="bfloat16", quantization=quantization)
    assert run.train() == 0
    losses = [point["loss"] for point in run.metrics() if "loss" in point]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < 0.3


@pytest.mark.slow
def test_preferences_are_learned_and_hold_for_pairs_never_seen(
    bench: Any, tmp_path: Path, write_data: Any, resolved: Any
) -> None:
    rows = [pair(n) for n in range(240)]
    data = write_data(tmp_path / "d", rows[:200], rows[200:])
    recipe = resolved(DPO, n_epochs=2, batch_size=16, micro_batch_size=16, learning_rate=5e-4, total_steps=26)
    run = bench(tmp_path, data=data, recipe=recipe)
    assert run.train() == 0
    accuracies = [point["eval_reward_accuracy"] for point in run.metrics() if "eval_reward_accuracy" in point]
    margins = [point["eval_reward_margin"] for point in run.metrics() if "eval_reward_margin" in point]
    assert accuracies[-1] == 1.0
    assert margins[-1] > margins[0] + 0.5
