"""Runs that meet trouble: memory, overfit, deadline; and what they leave."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from training_job.job import runtime


def adapter_in(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def largest_difference(left: Path, right: Path) -> Any:
    one, other = adapter_in(left), adapter_in(right)
    return max((one[name] - other[name]).abs().max().item() for name in other)


@pytest.fixture
def run_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make steps from `step` on fail as on a GPU whose memory holds micro batches of `rows` rows and no more."""
    import torch

    from training_job.methods.step import SupervisedTrainer

    plain = SupervisedTrainer.training_step

    def arrange(step: int, rows: int) -> None:
        def limited(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            loss = plain(self, model, inputs, num_items_in_batch)
            if self.state.global_step >= step and self._layout.rows > rows:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return loss

        monkeypatch.setattr(SupervisedTrainer, "training_step", limited)

    return arrange


@pytest.mark.ci
def test_a_run_out_of_memory_goes_on_with_smaller_micro_batches_and_the_same_batch(
    run_out_of_memory: Callable[..., None],
    finished: Any,
    bench: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_out_of_memory(step=7, rows=1)
    run = bench(tmp_path)
    assert run.train() == 0
    output = capsys.readouterr().out
    assert "micro batches of 2 rows instead of 4" in output
    assert "micro batches of 1 rows instead of 2" in output
    assert "resuming from step 6" in output
    result, straight = run.result(), finished.result()
    assert (result.status, result.metrics.last_step, result.metrics.micro_batch_size) == ("completed", 20, 1)
    assert result.metrics.diagnosis[-1].startswith(
        "Memory ran out: micro batches are of 1 rows instead of 4; the batch is 4"
    )
    assert result.metrics.processed_tokens == straight.metrics.processed_tokens
    steps = [point["step"] for point in run.metrics() if "loss" in point]
    assert steps == list(range(1, 21))
    assert result.metrics.train_loss == pytest.approx(straight.metrics.train_loss, rel=1e-4)
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") < 1e-3
    assert result.metrics.predicted_peak_bytes < straight.metrics.predicted_peak_bytes


@pytest.mark.ci
def test_a_job_started_again_remembers_that_memory_ran_out(
    run_out_of_memory: Callable[..., None],
    bench: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_out_of_memory(step=7, rows=1)
    run = bench(tmp_path)
    assert run.train() == 0
    expected = adapter_in(run.output / "model/adapter")
    shutil.rmtree(run.output / "model")
    shutil.rmtree(run.output / "checkpoints/checkpoint-20")
    capsys.readouterr()
    assert run.train() == 0
    output = capsys.readouterr().out
    assert "resuming from step 18" in output
    assert "out of memory" not in output
    result = run.result()
    assert (result.metrics.last_step, result.metrics.micro_batch_size) == (20, 1)
    assert result.metrics.diagnosis[-1].startswith("Memory ran out: micro batches are of 1 rows instead of 4")
    again = adapter_in(run.output / "model/adapter")
    assert all((again[name] == expected[name]).all() for name in expected)


def test_memory_that_holds_no_single_row_is_a_matter_of_capacity(
    run_out_of_memory: Callable[..., None], bench: Callable[..., Any], tmp_path: Path
) -> None:
    run_out_of_memory(step=0, rows=0)
    run = bench(tmp_path)
    assert run.train() == runtime.EXIT_CODES[FailureClass.CAPACITY]
    assert (run.result().problem.code, run.result().metrics.micro_batch_size) == ("out_of_memory", 1)


def test_micro_batches_shrink_to_a_part_of_the_batch() -> None:
    from training_job.train import halved

    assert [halved(16, 16), halved(12, 6), halved(12, 3), halved(7, 7)] == [8, 3, 1, 1]


def lines_of(rows: list[Any]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


@pytest.fixture(scope="module")
def overfitted(bench: Callable[..., Any], write_data: Any, resolved: Any, tmp_path_factory: Any) -> Any:
    """A run on four rows for many epochs, whose checkpoint a row of another kind selects."""
    from training_job.data.selection import selected

    folder = tmp_path_factory.mktemp("overfit")

    def row(question: str, answer: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    train = [row(f"part {n}", f"bolt {n} mm") for n in range(4)]
    others = (row(f"who is {n}", f"washer number {n * 7}, zinc") for n in count())
    train = next(rows for other in others if selected(lines_of(rows := [*train, other]), None, 42) == {4})
    # At 0.02 the loss stayed at 1.5 on one processor, and no epoch was worse than the one before.
    recipe = resolved(n_epochs=100, total_steps=100, learning_rate=0.005, quantization="none")
    run = bench(folder, data=write_data(folder / "d", train, train), recipe=recipe)
    assert run.train() == 0
    return run


def test_training_stops_early_and_the_best_checkpoint_is_the_model(overfitted: Any) -> None:
    result = overfitted.result()
    eval_loss = {point["step"]: point["eval_loss"] for point in overfitted.metrics() if "eval_loss" in point}
    assert result.metrics.stopped == "early"
    assert (
        result.metrics.best_step
        == min(eval_loss, key=lambda step: eval_loss[step])
        < result.metrics.last_step
        < result.metrics.total_steps
    )
    assert result.metrics.eval_loss == eval_loss[result.metrics.best_step]
    checkpoint = overfitted.output / "checkpoints" / f"checkpoint-{result.metrics.best_step}"
    assert largest_difference(overfitted.output / "model/adapter", checkpoint) == 0.0
    manifest = json.loads((overfitted.output / "model/manifest.json").read_text())
    assert (manifest["metrics"]["best_step"], manifest["metrics"]["stopped"]) == (result.metrics.best_step, "early")


def test_an_overfit_run_says_so_in_plain_words(overfitted: Any) -> None:
    diagnosis = overfitted.result().metrics.diagnosis
    assert diagnosis[0].startswith("Training stopped early")
    assert "strong overfit, an earlier checkpoint is better" in diagnosis[1]
    assert f"lowest at step {overfitted.result().metrics.best_step}" in diagnosis[2]


def test_an_early_stopped_run_that_was_killed_afterwards_keeps_its_best_checkpoint(
    overfitted: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    run = bench(tmp_path, data=overfitted.data)
    run.recipe = overfitted.recipe
    shutil.copytree(overfitted.output, run.output)
    shutil.rmtree(run.output / "model")
    assert run.train() == 0
    assert (run.result().metrics.best_step, run.result().metrics.stopped) == (
        overfitted.result().metrics.best_step,
        "early",
    )
    assert largest_difference(run.output / "model/adapter", overfitted.output / "model/adapter") == 0.0


def resumable(run: Any, other: Any, *, without: int) -> Any:
    """A copy of a run, killed before it saved its model and the checkpoint of step `without`."""
    shutil.copytree(run.output, other.output)
    shutil.rmtree(other.output / "model")
    shutil.rmtree(other.output / "checkpoints" / f"checkpoint-{without}", ignore_errors=True)
    return other


@pytest.mark.parametrize(
    "file",
    [
        "adapter_model.safetensors",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("optimizer.pt", "trainer_state.json")),
    ],
)
def test_zeros_in_the_newest_checkpoint_do_not_change_what_is_learned(
    file: str, finished: Any, bench: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = resumable(finished, bench(tmp_path), without=0)
    damaged = run.output / "checkpoints/checkpoint-20" / file
    content = damaged.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little") if file.endswith("safetensors") else 0
    damaged.write_bytes(content[:header] + bytes(len(content) - header))
    assert run.train() == 0
    assert "resuming from step 18" in capsys.readouterr().out
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") == 0.0
    assert run.result().metrics.eval_loss == finished.result().metrics.eval_loss


def test_a_checkpoint_that_cannot_be_loaded_is_set_aside_and_the_one_before_it_used(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training_job.job import checkpoints

    run = resumable(finished, bench(tmp_path), without=0)
    newest = run.output / "checkpoints/checkpoint-20"
    identity = checkpoints.Identity(**checkpoints.mark_of(newest)["identity"])
    (newest / "optimizer.pt").write_bytes(b"whole, and of no use to this version of the library")
    checkpoints.mark_complete(newest, identity, 4)
    assert run.train() == 0
    output = capsys.readouterr().out
    assert output.index("resuming from step 20") < output.index("resuming from step 18")
    assert (newest.parent / "set-aside-20").exists()
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") == 0.0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EIO, "Input/output error"), "input_output"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (InterruptedError(errno.EINTR, "Interrupted system call"), "input_output"),
                (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
                (MemoryError(), "out_of_memory"),
                (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
            )
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_disk_or_memory_that_fails_while_a_checkpoint_is_loaded_is_no_damage(
    error: Exception, code: str, finished: Any, bench: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    import torch

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    run = resumable(finished, bench(tmp_path), without=0)
    monkeypatch.setattr(torch, "load", fail)
    assert run.train() in (13, 14)
    assert run.result().problem.code == code
    found = sorted(path.name for path in (run.output / "checkpoints").glob("*/complete.json"))
    assert len(found) == 2, "both are as they were"
    assert not list((run.output / "checkpoints").glob("set-aside-*"))


@pytest.mark.ci
def test_a_run_in_bfloat16_continues_from_an_adapter(
    finished: Any, bench: Callable[..., Any], resolved: Any, tmp_path: Path
) -> None:
    recipe = resolved(compute_dtype="bfloat16", continued_from="run-0", total_steps=2, n_epochs=1)
    run = bench(tmp_path, recipe=recipe)
    assert run.train("--continue-from", str(finished.output / "model" / "adapter")) == 0
    assert run.result().metrics.first_train_loss < finished.result().metrics.first_train_loss - 1


def test_a_lost_best_checkpoint_is_not_what_the_records_name(
    overfitted: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    before = overfitted.result().metrics
    run = bench(tmp_path, data=overfitted.data)
    run.recipe = overfitted.recipe
    resumable(overfitted, run, without=before.best_step)
    assert run.train() == 0
    result = run.result()
    eval_loss = {point["step"]: point["eval_loss"] for point in run.metrics() if "eval_loss" in point}
    step = min((step for step in eval_loss if step >= before.last_step), key=lambda step: eval_loss[step])
    assert (result.metrics.best_step, result.metrics.eval_loss) == (step, eval_loss[step])
    assert step > before.best_step
    assert eval_loss[step] > before.eval_loss
    lost = f"The best checkpoint, of step {before.best_step}, was lost; the model is that of step {step}."
    assert result.metrics.diagnosis[0] == lost
    assert not any("lowest at step" in sentence for sentence in result.metrics.diagnosis)
    assert json.loads((run.output / "model/manifest.json").read_text())["metrics"]["best_step"] == step
    delivered = run.output / "checkpoints" / f"checkpoint-{step}"
    assert largest_difference(run.output / "model/adapter", delivered) == 0.0


def test_a_full_disk_while_a_checkpoint_is_saved_ends_the_attempt_and_is_no_damage(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    calls = []

    def full(self: Trainer, output_dir: str) -> None:
        calls.append(output_dir)
        raise OSError(errno.ENOSPC, "No space left on device")

    run = resumable(finished, bench(tmp_path), without=20)
    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
    assert run.train() != 0
    assert len(calls) == 1
    assert not list((run.output / "checkpoints").glob("set-aside-*"))
    assert run.result().problem.code == "disk_full"


def test_the_measured_loss_is_that_of_the_best_checkpoint_though_the_curve_is_lost(
    overfitted: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    before = overfitted.result().metrics
    run = bench(tmp_path, data=overfitted.data)
    run.recipe = overfitted.recipe
    resumable(overfitted, run, without=0)
    (run.output / "metrics.jsonl").write_text("")
    assert run.train() == 0
    after = run.result().metrics
    assert (after.best_step, after.eval_loss) == (before.best_step, before.eval_loss)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["zeros", "torn"])
def test_a_best_checkpoint_damaged_while_the_run_goes_on_is_not_delivered(
    damage: str, finished: Any, bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.job import checkpoints

    mark = checkpoints.mark_complete

    def mark_and_damage(checkpoint: Path, *facts: Any) -> None:
        mark(checkpoint, *facts)
        weights, aside = checkpoint / "adapter_model.safetensors", checkpoint.with_name("set-aside-20")
        if checkpoints.step_of(checkpoint) == 20 and not aside.exists():
            kept = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
            size = weights.stat().st_size
            weights.write_bytes(weights.read_bytes()[:kept] + bytes(size - kept if damage == "zeros" else 0))

    monkeypatch.setattr(checkpoints, "mark_complete", mark_and_damage)
    run = bench(tmp_path)
    assert run.train() == 0
    assert (run.output / "checkpoints/set-aside-20").exists()
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") == 0.0
    assert run.result().metrics.eval_loss == finished.result().metrics.eval_loss


def test_a_run_on_another_base_does_not_go_on_from_the_checkpoint(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint is whole; what it is loaded into is not what it was trained on."""
    from safetensors.torch import load_file, save_file

    base = tmp_path / "base"
    shutil.copytree(finished.base, base)
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    run = resumable(finished, bench(tmp_path, base=base), without=20)
    assert run.train() == 0
    assert "resuming from step" not in capsys.readouterr().out
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") > 0.0


def test_another_attempt_goes_on_from_the_checkpoint_of_the_one_before(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a mount, a kill or a newer version has left that training does not depend on."""
    run = resumable(finished, bench(tmp_path), without=20)
    recipe = json.loads(run.recipe.read_text())
    run.recipe.write_text(json.dumps(recipe | {"reasons": {"batch_size": "in other words"}}))
    for left in (".fuse_hidden0000001", ".nfs0001", ".amlignore", "._adapter_model.safetensors", ".cache"):
        (run.output / "checkpoints/checkpoint-18" / left).write_text("x")
    earlier_s = max(point.get("elapsed_s", 0) for point in run.metrics())
    with (run.output / "metrics.jsonl").open("a") as curve:
        curve.write("null\n")
    (run.output / "spent.json").write_text("")
    assert run.train(job="run-1-training-2") == 0
    assert "resuming from step 18" in capsys.readouterr().out
    assert largest_difference(run.output / "model/adapter", finished.output / "model/adapter") == 0.0
    assert run.result().metrics.seconds > earlier_s == pytest.approx(finished.result().metrics.seconds, abs=60)
    assert json.loads((run.output / "model/manifest.json").read_text())["job"] == "run-1-training-2"


def test_time_spent_is_known_from_a_checkpoint_where_both_files_of_it_are_lost(finished: Any, tmp_path: Path) -> None:
    from training_job.job.runtime import RunningMetrics

    shutil.copytree(finished.output / "checkpoints", tmp_path / "checkpoints")
    mark = tmp_path / "checkpoints" / "checkpoint-20" / "complete.json"
    facts = json.loads(mark.read_text())
    assert 0 < facts["seconds"] <= finished.result().metrics.seconds
    mark.write_text(json.dumps(facts | {"seconds": 36000.0}))
    metrics = RunningMetrics()
    metrics.continue_time(tmp_path)
    assert metrics.count_time() >= 36000


def test_a_mark_of_a_checkpoint_that_cannot_be_read_keeps_no_run_from_going_on(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.job.runtime import RunningMetrics

    shutil.copytree(finished.output / "checkpoints", tmp_path / "checkpoints")
    read, tried = Path.read_bytes, list[str]()

    def refuse(path: Path) -> bytes:
        if path.parent.name == "checkpoint-20":
            return read(path)
        tried.append(path.parent.name)
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    metrics = RunningMetrics()
    metrics.continue_time(tmp_path)
    assert tried
    assert (
        metrics.count_time()
        >= json.loads((tmp_path / "checkpoints/checkpoint-20/complete.json").read_text())["seconds"]
    )


def test_a_deadline_over_all_attempts_ends_training_with_a_checkpoint_and_a_model(
    bench: Callable[..., Any], resolved: Any, tmp_path: Path
) -> None:
    """Also where the attempt before left no checkpoint."""
    run = bench(tmp_path, recipe=resolved({"budget": {"deadline_hours": 10}}, n_epochs=25, total_steps=250))
    run.output.mkdir()
    (run.output / "spent.json").write_text('{"seconds": 36000}')
    assert run.train(job="run-1-training-3") == 0
    result = run.result()
    assert (result.status, result.metrics.stopped) == ("completed", "deadline")
    assert result.metrics.last_step == 1
    assert 36000 < result.metrics.seconds < 36000 + 600
    assert (run.output / "checkpoints" / f"checkpoint-{result.metrics.last_step}" / "complete.json").exists()
    assert [p["step"] for p in run.metrics() if "eval_loss" in p][-1] == result.metrics.last_step
    assert (run.output / "model" / "manifest.json").exists()
    assert "deadline was near" in result.metrics.diagnosis[0]


def curve(train: list[float], held_out: list[float]) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for step, (loss, eval_loss) in enumerate(zip(train, held_out, strict=True), start=1):
        points += [{"step": step, "loss": loss}, {"step": step, "eval_loss": eval_loss}]
    return points


def test_the_run_records_planned_memory_and_compares_it_on_a_gpu_alone(finished: Any, resolved: Any) -> None:
    import torch

    from shared.domain.catalog import find_entry
    from shared.domain.planning.memory import memory_plan

    plan = memory_plan(find_entry("droptune/tiny-llama"), resolved().hyperparameters)
    result = finished.result()
    assert result.metrics.predicted_peak_bytes == plan.total_bytes - plan.runtime_bytes
    assert (result.metrics.measured_peak_bytes is None) == (not torch.cuda.is_available())
    metrics = json.loads((finished.output / "model/manifest.json").read_text())["metrics"]
    assert metrics["predicted_peak_bytes"] == result.metrics.predicted_peak_bytes
    assert metrics["measured_peak_bytes"] == result.metrics.measured_peak_bytes


def test_a_run_that_trains_no_further_step_has_what_its_method_measured_before(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from training_job.job.curve import Curve
    from training_job.job.runtime import RunningMetrics
    from training_job.methods import reinforcement
    from training_job.methods.watch import close_metrics

    curve = Curve(tmp_path)
    for step in (1, 2):
        curve.add({"step": step, "loss": 0.0, "reward": step / 4, "kl": None})
        curve.add({"step": step, "eval_loss": 0.0, "eval_reward": step / 8, "eval_kl": 0.5})
    ended = SimpleNamespace(global_step=2, best_global_step=2, log_history=[])
    metrics = RunningMetrics(total_steps=2, measures={"eval_kl": 0.25})
    close_metrics(metrics, curve, ended, reinforcement)  # type: ignore[arg-type]
    assert metrics.measures == {"reward": 0.5, "eval_reward": 0.25, "eval_kl": 0.25}


@pytest.mark.parametrize(
    ("measured", "lines"),
    [
        (None, ()),
        (21_900_000_000, ()),
        (18_100_000_000, ()),
        (23_000_000_000, ("The GPU held 23.0 GB, +15% of the 20.0 GB planned: the plan is too small.",)),
        (
            15_000_000_000,
            ("The GPU held 15.0 GB, -25% of the 20.0 GB planned: the plan is too large, or no micro batch was full.",),
        ),
    ],
)
def test_a_peak_more_than_a_tenth_off_the_plan_is_said(
    finished: Any, tmp_path: Path, measured: int | None, lines: tuple[str, ...]
) -> None:
    from types import SimpleNamespace

    from training_job.job.curve import Curve
    from training_job.job.runtime import RunningMetrics
    from training_job.methods import supervised
    from training_job.methods.watch import close_metrics

    shutil.copy(finished.output / "metrics.jsonl", tmp_path)
    ended = SimpleNamespace(global_step=20, best_global_step=20, log_history=[])
    metrics = RunningMetrics(total_steps=20, predicted_peak_bytes=20_000_000_000, measured_peak_bytes=measured)
    close_metrics(metrics, Curve(tmp_path), ended, supervised)  # type: ignore[arg-type]
    assert tuple(line for line in metrics.diagnosis if "GPU" in line) == lines
