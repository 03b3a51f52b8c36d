from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from shared.rendering.check import LengthPolicy
from tests.paths import ROOT
from training_job.job import runtime
from training_job.train import METHODS


def adapter_of(run: Any) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(run.output / "model" / "adapter" / "adapter_model.safetensors")


def test_a_run_leaves_a_whole_model_folder_and_a_result(finished: Any) -> None:
    result = finished.result()
    assert (result.status, result.metrics.last_step, result.metrics.total_steps) == ("completed", 20, 20)
    assert result.metrics.train_loss < 6.5
    assert result.metrics.eval_loss is not None
    assert result.metrics.selection_rows == 8
    model = finished.output / "model"
    assert {path.name for path in model.iterdir()} == {"adapter", "merged", "manifest.json"}
    assert list(finished.output.rglob("README.md")) == [model / "merged" / "README.md"]
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["base_model"] == "droptune/tiny-llama"
    assert manifest["data_version"] == "data-1"
    assert manifest["license"]
    assert manifest["libraries"]["torch"].startswith("2.13.0")
    assert manifest["metrics"]["selection_rows"] == 8
    assert manifest["metrics"]["train_loss"] == result.metrics.train_loss < manifest["metrics"]["first_train_loss"]


def test_the_curve_says_what_the_dashboard_shows(finished: Any) -> None:
    points = [point for point in finished.metrics() if "loss" in point]
    assert [point["step"] for point in points] == list(range(1, 21))
    assert set(points[0]) == {
        *("step", "total_steps", "epoch", "loss", "learning_rate", "grad_norm"),
        *("tokens", "tokens_per_s", "eta_s", "elapsed_s", "peak_memory_bytes"),
    }
    assert points[-1]["eta_s"] == 0
    assert points[-1]["tokens"] == finished.result().metrics.processed_tokens
    evaluated = [point["step"] for point in finished.metrics() if "eval_loss" in point]
    assert evaluated == list(range(2, 21, 2))


def test_processed_tokens_are_counted_without_padding(finished: Any, tokenizer: Any) -> None:
    from training_job.data.chat_rows import bundle_of, encode_file
    from training_job.data.selection import selected

    file = finished.data / "train.jsonl"
    rows = encode_file(file, bundle_of(tokenizer), LengthPolicy(256, "reject")).rows
    chosen = selected(file.read_bytes().splitlines(), None, 42)
    learned = [row for i, row in enumerate(rows) if i not in chosen]
    assert finished.result().metrics.processed_tokens == 2 * sum(len(row.input_ids) for row in learned)


def test_only_the_best_and_the_last_checkpoints_are_kept(finished: Any) -> None:
    names = {path.name for path in (finished.output / "checkpoints").glob("checkpoint-*")}
    assert names == {"checkpoint-18", "checkpoint-20"}
    assert finished.result().metrics.best_step == 20


@pytest.mark.ci
def test_a_run_killed_at_any_moment_continues_to_the_same_weights(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench(tmp_path)
    command = [sys.executable, "-m", "training_job.train", *run.arguments()]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((run.output / "checkpoints").glob("checkpoint-*/complete.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
    assert not (run.output / "result.json").exists()
    with (run.output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')

    assert run.train() == 0
    assert "resuming from step" in capsys.readouterr().out
    resumed, straight = adapter_of(run), adapter_of(finished)
    assert max((resumed[name] - straight[name]).abs().max().item() for name in straight) == 0.0
    curves = [
        [(point["step"], point.get("loss"), point.get("eval_loss"), point.get("tokens")) for point in points]
        for points in (run.metrics(), finished.metrics())
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("step", [pytest.param(18, marks=pytest.mark.slow), 20], ids=["late", "after the last step"])
def test_a_run_killed_late_ends_as_if_it_had_not_been(
    step: int, finished: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    run = bench(tmp_path)
    shutil.copytree(finished.output, run.output)
    shutil.rmtree(run.output / "model")
    for checkpoint in {18, 20} - {step}:
        shutil.rmtree(run.output / "checkpoints" / f"checkpoint-{checkpoint}")
    assert run.train() == 0
    resumed, straight = adapter_of(run), adapter_of(finished)
    assert max((resumed[name] - straight[name]).abs().max().item() for name in straight) == 0.0
    before, after = finished.result(), run.result()
    assert (after.metrics.last_step, after.metrics.processed_tokens) == (20, before.metrics.processed_tokens)
    assert (after.metrics.train_loss, after.metrics.eval_loss) == (before.metrics.train_loss, before.metrics.eval_loss)
    assert (run.output / "model" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_run_interrupted_five_times_over_three_attempts_ends_with_the_same_weights_in_the_same_budget(
    seed: int, finished: Any, bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.job import checkpoints
    from training_job.methods.step import SupervisedTrainer

    chance, step_once, mark = random.Random(seed), SupervisedTrainer.training_step, checkpoints.mark_complete
    stops = [(chance.choice(["in a step", "in a checkpoint"]), chance.randrange(3, 19)) for _ in range(5)]

    def stop_if_due(where: str, step: int) -> None:
        if stops and where == stops[0][0] and step >= stops[0][1]:
            stops.pop(0)
            os.kill(os.getpid(), signal.SIGTERM)

    def training_step(self: Any, *inputs: Any) -> Any:
        stop_if_due("in a step", self.state.global_step)
        return step_once(self, *inputs)

    def mark_complete(checkpoint: Path, *facts: Any) -> None:
        stop_if_due("in a checkpoint", checkpoints.step_of(checkpoint))
        mark(checkpoint, *facts)

    monkeypatch.setattr(SupervisedTrainer, "training_step", training_step)
    monkeypatch.setattr(checkpoints, "mark_complete", mark_complete)
    run, codes, seconds = bench(tmp_path), [], []
    for attempt in (1, 1, 2, 2, 3, 3):
        began = time.monotonic()
        codes.append(run.train(job=f"run-1-training-{attempt}"))
        seconds.append(time.monotonic() - began)
    assert codes == [143, 143, 143, 143, 143, 0]
    mine, straight = adapter_of(run), adapter_of(finished)
    assert all((mine[name] == straight[name]).all() for name in straight)
    expected, found = finished.result().metrics, run.result().metrics
    assert (found.best_step, found.eval_loss) == (expected.best_step, expected.eval_loss)
    assert found.processed_tokens == expected.processed_tokens
    assert sum(seconds) * 0.5 < found.seconds <= sum(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("failure_class", [FailureClass.CODE, FailureClass.PLATFORM])
def test_nothing_goes_on_from_a_run_that_failed_because_of_its_own_state(
    failure_class: FailureClass,
    bench: Callable[..., Any],
    resolved: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from training_job.model import artifacts

    run = bench(tmp_path, recipe=resolved(total_steps=4, n_epochs=1, quantization="none"))

    def fail(*_: Any) -> None:
        raise OSError("the mount is gone") if failure_class is FailureClass.PLATFORM else KeyError("weights")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "merge", fail)
        assert run.train() == runtime.EXIT_CODES[failure_class]
    capsys.readouterr()
    assert run.train(job="run-1-training-2") == 0
    first = "step 1/4" if failure_class is FailureClass.CODE else "resuming from step 4"
    assert first in capsys.readouterr().out


FAILURES = {
    "no data": (FailureClass.PLATFORM, "input_missing"),
    "broken recipe": (FailureClass.RECIPE, "invalid_recipe"),
    "nothing to learn": (FailureClass.DATA, "no_trainable_tokens"),
    "too long": (FailureClass.DATA, "row_too_long"),
    "beyond the model": (FailureClass.RECIPE, "max_length_beyond_context"),
    "odd batch": (FailureClass.RECIPE, "batch_not_divisible"),
    "broken weights": (FailureClass.RECIPE, "base_model_unfit"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_ends_with_its_class_its_code_and_no_model(
    name: str, tmp_path: Path, bench: Callable[..., Any], write_data: Any, resolved: Any, some_rows: list[Any]
) -> None:
    failure_class, code = FAILURES[name]
    other: dict[str, Any] = {}
    match name:
        case "no data":
            other["data"] = tmp_path / "nowhere"
        case "broken recipe":
            other["recipe"] = '{"project": "demo"}'
        case "nothing to learn":
            silent = {"messages": [{"role": "user", "content": "secret"}]}
            other["data"] = write_data(tmp_path / "d", [silent], some_rows)
        case "too long":
            other["recipe"] = resolved(max_length_tokens=16)
        case "beyond the model":
            other["recipe"] = resolved(max_length_tokens=5000)
        case "odd batch":
            other["recipe"] = resolved(batch_size=5)
        case "broken weights":
            other["base"] = with_broken_weights(bench(tmp_path / "x").base, tmp_path / "broken")
    run = bench(tmp_path, **other)
    assert run.train() == runtime.EXIT_CODES[failure_class] != 0
    result = run.result()
    assert (result.status, result.failure_class, result.problem.code) == ("failed", failure_class, code)
    assert "secret" not in result.model_dump_json()
    assert not (run.output / "model").exists()


def with_broken_weights(base: Path, folder: Path) -> Path:
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_dropped_rows_are_counted_and_shorten_the_run(
    tmp_path: Path, bench: Callable[..., Any], write_data: Any, resolved: Any, some_rows: list[Any]
) -> None:
    long = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "bolt " * 200}]}
    data = write_data(tmp_path / "d", [*some_rows[:8], long, long], some_rows[:4])
    recipe = resolved({"data": {"over_length": "drop"}}, max_length_tokens=100, n_epochs=1)
    run = bench(tmp_path, data=data, recipe=recipe)
    assert run.train() == 0
    assert (run.result().metrics.dropped_rows, run.result().metrics.total_steps) == (2, 2)


@pytest.mark.parametrize("same", [True, False])
def test_a_base_model_that_reads_rows_otherwise_than_the_validator_did_is_refused(
    tmp_path: Path, bench: Callable[..., Any], write_data: Any, bundle: Any, some_rows: list[Any], same: bool
) -> None:
    validated_for = bundle.sha256 if same else "0" * 64
    data = write_data(tmp_path / "d", some_rows[:8], some_rows[:4], tokenizer_sha256=validated_for)
    run = bench(tmp_path, data=data)
    assert run.train() == (0 if same else runtime.EXIT_CODES[FailureClass.RECIPE])
    problem = run.result().problem
    assert (problem and problem.code) == (None if same else "tokenizer_differs")


def test_truncated_rows_are_trained_on_and_counted_in_the_manifest(
    tmp_path: Path, bench: Callable[..., Any], write_data: Any, resolved: Any, some_rows: list[Any]
) -> None:
    long = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "bolt " * 200}]}
    data = write_data(tmp_path / "d", [*some_rows[:6], long, long], some_rows[:4])
    recipe = resolved({"data": {"over_length": "truncate"}}, max_length_tokens=100, n_epochs=1)
    run = bench(tmp_path, data=data, recipe=recipe)
    assert run.train() == 0
    assert (run.result().metrics.dropped_rows, run.result().metrics.total_steps) == (0, 2)
    manifest = json.loads((run.output / "model" / "manifest.json").read_text())
    assert manifest["metrics"]["truncated_rows"] == 2


def test_a_recipe_is_the_same_to_training_whatever_it_says_of_other_things(resolved: Callable[..., Any]) -> None:
    from training_job.train import recipe_sha256

    recipe = resolved()
    same = [
        recipe.model_copy(update={"reasons": {"seed": "other words"}, "serving_instance_type": "Standard_other"}),
        resolved({"budget": {"deadline_hours": 7}, "use_case": "x", "deployment": {"approval_hours": 2}}),
        type(recipe).model_validate_json(recipe.model_dump_json(exclude_defaults=True)),  # as before a field was added
    ]
    changes = {"seed": 8, "lora_dropout": 0.1, "learning_rate": 1e-5, "packing": "padded", "dora": True}
    others = [resolved(**{name: value}) for name, value in changes.items()]
    others += [resolved({"data": {"over_length": "drop"}}), resolved(continued_from="run-2")]
    others += [resolved({"method": {"type": "dpo"}})]
    assert {recipe_sha256(one) for one in same} == {recipe_sha256(recipe)}
    assert len({recipe_sha256(one) for one in (recipe, *others)}) == len(others) + 1


def test_help_and_bad_arguments_answer_without_torch() -> None:
    """`validate` has a stricter test of its own."""
    program = (
        "import sys; from training_job import train, evaluate, import_base, selftest\n"
        "for module in (train, evaluate, import_base, selftest):\n"
        "    for arguments in (['--help'], ['--nonsense']):\n"
        "        try: module.main(arguments)\n"
        "        except SystemExit as end: print(module.__name__.split('.')[1], 'exit', end.code)\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = ("train", "evaluate", "import_base", "selftest")
    exits = re.findall(r"^(\w+) exit (\d)$", done.stdout, re.MULTILINE)
    assert exits == [(module, code) for module in modules for code in "02"]
    assert done.stdout.endswith("set()\n")


def test_the_process_exits_with_the_class_of_its_failure(bench: Callable[..., Any], tmp_path: Path) -> None:
    run = bench(tmp_path, data=tmp_path / "nowhere")
    command = [sys.executable, "-m", "training_job.train", *run.arguments()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == runtime.EXIT_CODES[FailureClass.PLATFORM]
    assert "input_missing" in done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_base_model_for_gpus_fails_with_class_platform_where_there_is_none(
    bench: Callable[..., Any], resolved: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    run = bench(tmp_path, recipe=resolved(recipe={"base_model": "microsoft/Phi-4"}))
    more = {"evaluate": ("--candidate", str(run.base))}.get(command, ())
    code = run.train() if command == "train" else run.evaluate(*more, output=run.output)
    assert code == runtime.EXIT_CODES[FailureClass.PLATFORM]
    result = run.result()
    assert (result.failure_class, result.problem.code) == (FailureClass.PLATFORM, "self_test_failed")
    assert "no CUDA device" in result.problem.message


def test_training_needs_no_network(monkeypatch: pytest.MonkeyPatch, bench: Any, resolved: Any, tmp_path: Path) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a job must not open connections")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert bench(tmp_path, recipe=resolved(total_steps=4)).train() == 0


def test_a_stopped_job_is_no_success(bench: Callable[..., Any], tmp_path: Path, resolved: Any) -> None:
    run = bench(tmp_path, recipe=resolved(n_epochs=25, total_steps=250))

    def stop_once_it_trains() -> None:
        metrics = run.output / "metrics.jsonl"
        while not metrics.exists() or b'"loss"' not in metrics.read_bytes():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_it_trains, daemon=True).start()
    assert run.train() == 143
    result = run.result()
    assert (result.status, result.failure_class, result.problem.code) == ("failed", "platform", "interrupted")
    assert 0 < result.metrics.last_step < 250
    assert not (run.output / "model" / "manifest.json").exists()


def test_from_train_to_the_step_are_the_three_files_that_the_page_names(
    libraries: None, bench: Callable[..., Any], resolved: Callable[..., Any], tmp_path: Path
) -> None:
    from accelerate import Accelerator

    page = (ROOT / "docs/explanation/training.md").read_text().partition("## From `train` to the step")[2]
    named = dict(re.findall(r"^\| `(training_job/\S+)` \| (.+?) \|", page, re.MULTILINE))
    train, _, step = named
    trees = {}
    for file in (train, step, *(f"training_job/methods/{name}.py" for name in METHODS.values())):
        trees[file] = list(ast.walk(ast.parse((ROOT / file).read_text())))
        imports = {str(node.module) for node in trees[file] if isinstance(node, ast.ImportFrom)}
        found = {name.rpartition(".")[2] for name in imports if name.startswith("training_job.methods.")}
        assert found - {"rewards", "reward_watch"} == ({"step"} if file not in (train, step) else set()), file
    for file, functions in named.items():
        defined = {node.name for node in trees[file] if isinstance(node, ast.FunctionDef)}
        defined |= {node.id for node in trees[file] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        assert set(re.findall(r"`(\w+)`", functions)) <= defined, file
    passed, backward = [], Accelerator.backward

    def record(*args: Any, **named: Any) -> None:
        passed.append([frame.filename for frame in traceback.extract_stack()])
        backward(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "backward", record)
        assert bench(tmp_path, recipe=resolved(total_steps=1)).train() == 0
    ours = [Path(file).relative_to(ROOT).as_posix() for file in passed[0] if file.startswith(f"{ROOT}/training_job/")]
    assert list(dict.fromkeys(ours)) == [train, "training_job/job/runtime.py", step]
