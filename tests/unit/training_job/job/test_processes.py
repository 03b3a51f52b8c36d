"""Training by several processes, started as Azure ML starts those of a PyTorch distribution. Gloo on the CPU.

Some keep a part of the base each (`training_job.methods.supervised`). The job is sent as the SDK sends it,
without the SDK, whose import takes two seconds.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_stack.azure_ml import processes
from local_stack.azure_ml.config import EmulatorConfig
from shared.domain.errors import FailureClass
from tests.azure_ml_emulator import running
from tests.unit.local_stack.azure_ml.golden import FOLDER
from tests.unit.local_stack.azure_ml.support import Local, client_of, eventually
from training_job.job import runtime

STEPS = 12
BODY = (FOLDER / "training-phi-4-four-gpus.json").read_text()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    root = tmp_path_factory.mktemp("azure-ml")
    with running(EmulatorConfig(root / "azure_ml", root / "blobs", 0, tick_s=0.3), lambda _: None) as emulator:
        client = client_of(emulator.config.port, emulator.config.secret)
        yield Local(emulator, client, root / "blobs")
        client.close()


@pytest.fixture
def train(local: Local) -> Callable[..., Any]:
    """Submit a run as a job of several processes; `arguments` are the command's, where they are not the run's own."""

    def submit(name: str, run: Any, arguments: list[str] | None = None, instances: int = 1, processes: int = 1) -> None:
        body = json.loads(BODY)["body"]
        command = f"python -m training_job.train {' '.join(arguments or run.arguments())}"
        body["properties"] |= {"command": command, "inputs": {}, "outputs": {}}
        body["properties"]["distribution"]["processCountPerInstance"] = processes
        body["properties"]["resources"]["instanceCount"] = instances
        assert local.arm("PUT", f"jobs/{name}", body).status_code == 201

    return submit


@pytest.fixture(scope="module")
def uneven(bench: Callable[..., Any], write_data: Any, some_rows: list[Any], resolved: Any) -> Callable[..., Any]:
    """A run whose last step of an epoch has one row, which only one of two processes can have."""

    def make(folder: Path, **hyperparameters: Any) -> Any:
        data = write_data(folder / "data", some_rows[:26], some_rows[:7])  # five of them select
        return bench(folder, data=data, recipe=resolved(total_steps=STEPS, **hyperparameters))

    return make


@pytest.fixture(scope="module")
def alone(uneven: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That run by one process."""
    run = uneven(tmp_path_factory.mktemp("alone"))
    assert run.train() == 0
    return run


def ended(local: Local, name: str) -> str:
    """How."""

    def final() -> str | None:
        status = local.arm("GET", f"jobs/{name}").json()["properties"]["status"]
        return status if status in ("Completed", "Failed", "Canceled") else None

    return eventually(final, within_s=240) or ""


def losses(run: Any) -> list[tuple[int, float]]:
    return [(point["step"], point.get("loss", point.get("eval_loss"))) for point in run.metrics()]


def largest_difference(left: Any, right: Any) -> Any:
    one, other = left.adapter(), right.adapter()
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in other)


def assert_learned_alike(run: Any, other: Any) -> None:
    """Rows are dealt out anew among processes, so sums round otherwise."""
    result, expected = run.result(), other.result()
    assert (result.status, result.metrics.last_step, result.metrics.processed_tokens) == (
        "completed",
        STEPS,
        expected.metrics.processed_tokens,
    )
    mine, theirs = losses(run), losses(other)
    assert [step for step, _ in mine] == [step for step, _ in theirs]
    assert [loss for _, loss in mine] == pytest.approx([loss for _, loss in theirs], rel=1e-4)
    assert largest_difference(run, other) < 1e-3


def left_by(other: Any, run: Any) -> None:
    """What a job leaves that was killed after its last checkpoint."""
    shutil.copytree(other.output, run.output)
    shutil.rmtree(run.output / "model")
    (run.output / "result.json").unlink()


@pytest.mark.slow
def test_two_processes_that_cannot_load_a_checkpoint_end_and_the_next_attempt_uses_the_one_before(
    alone: Any, uneven: Callable[..., Any], train: Callable[..., Any], local: Local, tmp_path: Path
) -> None:
    from training_job.job import checkpoints

    run = uneven(tmp_path)
    left_by(alone, run)
    newest = run.output / "checkpoints" / f"checkpoint-{STEPS}"
    identity = checkpoints.Identity(**checkpoints.mark_of(newest)["identity"])
    (newest / "optimizer.pt").write_bytes(b"whole, and of no use to this version of the library")
    checkpoints.mark_complete(newest, identity, 4)
    train("unreadable-1", run, processes=2)
    assert ended(local, "unreadable-1") == "Failed"
    result = run.result()
    assert (result.failure_class, result.problem.code) == (FailureClass.PLATFORM, "checkpoint_unreadable")
    train("unreadable-2", run, processes=2)
    assert ended(local, "unreadable-2") == "Completed"
    assert_learned_alike(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["continued", "anew", "damaged"])
def test_two_processes_learn_what_one_does(
    start: str, alone: Any, uneven: Callable[..., Any], train: Callable[..., Any], local: Local, tmp_path: Path
) -> None:
    """Continued, they have the last steps left, of which the last is uneven."""
    run = uneven(tmp_path)
    newest = run.output / "checkpoints" / f"checkpoint-{STEPS}"
    if start != "anew":
        left_by(alone, run)
    if start == "continued":
        shutil.rmtree(newest)
    if start == "damaged":
        (newest / "optimizer.pt").write_bytes(bytes((newest / "optimizer.pt").stat().st_size))
    train(start, run, processes=2)
    assert ended(local, start) == "Completed"
    assert_learned_alike(run, alone)
    log = (local.emulator.config.root / f"jobs/{start}/user_logs/std_log.txt").read_text()
    assert log.count("resuming from step") == (0 if start == "anew" else 2)


@pytest.mark.slow
def test_two_machines_that_are_lost_go_on_from_their_checkpoint(
    alone: Any, uneven: Callable[..., Any], train: Callable[..., Any], local: Local, tmp_path: Path
) -> None:
    run = uneven(tmp_path)
    train("lost-machine", run, instances=2)
    eventually(lambda: list((run.output / "checkpoints").glob("checkpoint-*/complete.json")), within_s=120)
    assert processes.send_signal(local.emulator.config.root / "jobs/lost-machine/attempts/1", signal.SIGKILL)
    assert ended(local, "lost-machine") == "Completed"
    log = (local.emulator.config.root / "jobs/lost-machine/user_logs/std_log.txt").read_text()
    assert log.count("resuming from step") == 2
    assert_learned_alike(run, alone)


# Of its two halves, test_runtime.py and the emulator's test_distributed.py have one each.
@pytest.mark.slow
def test_what_stops_another_than_the_first_process_is_the_result_of_the_job(
    bench: Callable[..., Any], train: Callable[..., Any], local: Local, tmp_path: Path
) -> None:
    run = bench(tmp_path)
    elsewhere = f"$( [ $RANK = 1 ] && echo {tmp_path}/nowhere || echo {run.base} )"
    train("no-base-at-1", run, [elsewhere if word == str(run.base) else word for word in run.arguments()], processes=2)
    code = runtime.EXIT_CODES[FailureClass.PLATFORM]
    assert ended(local, "no-base-at-1") == "Failed"
    job = local.emulator.store.get("job", "no-base-at-1")
    assert job is not None
    assert job["error"]["message"] == f"Execution failed. User process exited with status code {code}."
    result = run.result()
    assert (result.status, result.failure_class) == ("failed", FailureClass.PLATFORM)
    assert (result.problem.code, result.problem.message) == ("input_missing", "not found: nowhere")


@pytest.mark.ci
@pytest.mark.parametrize("starts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_that_each_keep_a_part_of_the_base_learn_what_one_does(
    starts: int, alone: Any, uneven: Callable[..., Any], train: Callable[..., Any], local: Local, tmp_path: Path
) -> None:
    run, name = uneven(tmp_path, sharding="full", gradient_checkpointing=True), f"in-parts-{starts}"
    train(name, run, processes=2)
    if starts == 2:
        eventually(lambda: list((run.output / "checkpoints").glob("checkpoint-*/complete.json")), within_s=120)
        assert processes.send_signal(local.emulator.config.root / f"jobs/{name}/attempts/1", signal.SIGKILL)
    assert ended(local, name) == "Completed"
    assert_learned_alike(run, alone)
    assert run.result().metrics.merged_agreement == 1.0
    log = (local.emulator.config.root / f"jobs/{name}/user_logs/std_log.txt").read_text()
    kept_bytes = re.findall(r"this process keeps (\d+) of (\d+) bytes of the frozen layers", log)
    assert len(kept_bytes) == 2 * starts
    assert {int(kept) * 2 for kept, _ in kept_bytes} == {int(whole) for _, whole in kept_bytes}
