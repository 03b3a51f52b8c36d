"""`kill -9` of the whole stack while a job trains: the run ends as if nothing had happened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.stack.local import RECIPE, LocalStack, ask

pytestmark = [pytest.mark.stack, pytest.mark.timeout(500)]


@pytest.fixture
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    running = LocalStack(tmp_path_factory.mktemp("kill") / "stack")
    yield running
    running.down()


def wait_for_steps(local: LocalStack, run_id: str, steps: int) -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        progress = local.get(f"/api/runs/{run_id}/metrics")["progress"]
        if progress and progress["step"] >= steps:
            return int(progress["step"])
        time.sleep(0.3)
    raise AssertionError(f"step {steps} was not reached")


def test_a_run_killed_with_the_whole_stack_during_training_ends_deployed_with_one_job(
    local: LocalStack,
) -> None:
    local.drop_recipe("shop")
    run = local.wait("shop", {"training"})
    reached = wait_for_steps(local, run["id"], 150)
    assert local.kill_everything() >= 3  # host, emulator and the job
    local.up()
    ended = local.wait("shop", {"deployed"})
    assert ended["id"] == run["id"]
    names = [job["name"] for job in local.jobs()]
    assert sorted(names) == [f"{run['id']}-evaluation-1", f"{run['id']}-training-1"]
    steps = [
        json.loads(line)["step"]
        for line in (local.root / "blobs" / "runs" / run["id"] / "metrics.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]
    assert steps == sorted(set(steps)), "each step is logged once"
    training = next(job for job in local.jobs() if job["name"].endswith("-training-1"))
    assert training["attempt"] == 2, "the platform restarted it, as it does a preempted one"
    assert reached >= 150
    messages = json.loads((RECIPE / "eval.jsonl").read_text().splitlines()[0])["messages"]
    assert ask(ended["rollout"]["scoring_uri"], messages[0]["content"]) == messages[-1]["content"]
