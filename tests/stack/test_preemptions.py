"""Training jobs that are killed as on a preempted machine: the next attempt continues, and the run ends deployed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local_stack.azure_ml.jobs import timeout_of
from local_stack.processes import marked
from tests.stack.local import LocalStack, notes, rows, statuses, until
from tests.stack.scenarios import QUICK, Run, ended, jobs_of, seen

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]

STEPS, SAVED_EACH = 32, 4


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    running = LocalStack(tmp_path_factory.mktemp("preempted") / "stack", {"RETRY_WAIT_S": "0.2", "JOB_POLL_S": "3"})
    yield running
    running.down()


def drop(local: LocalStack, project: str) -> Run:
    changes: dict[str, Any] = {"deployment": {"approval": "automatic", "rollout": [100]}}
    local.drop_project(project, rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **QUICK, **changes)
    return seen(local, project, "training")


def adapter(local: LocalStack, run: Run) -> bytes:
    return Path(local.root / "blobs/runs" / run["id"] / "model/adapter/adapter_model.safetensors").read_bytes()


def log_of(local: LocalStack, job: str) -> str:
    path = local.root / "azure_ml" / "jobs" / job / "user_logs" / "std_log.txt"
    return path.read_text() if path.exists() else ""


def logged_steps(local: LocalStack, job: str) -> list[int]:
    return [int(step) for step in re.findall(r"^step (\d+)/", log_of(local, job), re.MULTILINE)]


def kill_at(local: LocalStack, job: str, step: int) -> None:
    """SIGKILL for the command alone: what started it reports 137."""
    until(lambda: max(logged_steps(local, job), default=0) >= step, f"{job} is at step {step}", 600, every_s=0.01)
    found = [process for process in marked(local.root) if job in process.cmdline()]
    assert found
    for process in found:
        process.kill()


def test_a_training_that_is_killed_twice_continues_and_ends_deployed_with_the_weights_of_one_that_was_not(
    local: LocalStack,
) -> None:
    run = drop(local, "preempted")
    stops = sorted(random.sample(range(SAVED_EACH + 2, STEPS - 4), 2))
    print(f"killed at steps {stops}")
    names = [f"{run['id']}-training-{attempt}" for attempt in (1, 2, 3)]
    for name, step in zip(names, stops, strict=False):
        kill_at(local, name, step)
    run = ended(local, run, "deployed", "failed", "declined", "rolled_back")
    straight = ended(local, drop(local, "straight"), "deployed", "failed", "declined", "rolled_back")

    assert run["status"] == straight["status"] == "deployed", (run["error"], straight["error"])
    assert statuses(run).count("training") == 5, "submitted three times, and twice it waited for the next"
    assert jobs_of(local, run) == {
        "training-1": "Failed",
        "training-2": "Failed",
        "training-3": "Completed",
        "evaluation-1": "Completed",
    }
    assert [note.partition(":")[0] for note in notes(run)][:2] == ["platform", "platform"]
    for before, name in pairwise(names):
        begin, reached = logged_steps(local, name)[0], max(logged_steps(local, before))
        assert f"resuming from step {begin - 1}" in log_of(local, name)
        assert reached - SAVED_EACH <= begin <= reached + 1
    assert adapter(local, run) == adapter(local, straight)
    assert run["training"]["eval_loss"] == straight["training"]["eval_loss"]
    limits = {job["name"]: timeout_of(job["properties"]) for job in local.jobs()}
    first, second, third = (limits[name] or 0 for name in names)
    assert first > second > third > 0
    assert first - third <= run["training"]["seconds"]
