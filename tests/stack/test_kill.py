"""`kill -9` of the whole stack, jobs and servers included: runs end as if nothing had happened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from shared.domain.run import TERMINAL, Run, Status
from tests.receiver import Receiver
from tests.stack import ledger
from tests.stack.local import RECIPE, LocalStack, ask, rows, until
from tests.stack.stories import QUICK

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
    assert ask(local.root, ended["rollout"]["scoring_uri"], messages[0]["content"]) == messages[-1]["content"]


# The first is cancelled while it trains, the second during its rollout, the third is let live.
PROJECTS = {"stopped": Status.TRAINING, "taken-back": Status.DEPLOYING, "whole-way": None}
ENDS = {"stopped": "cancelled", "taken-back": "rolled_back", "whole-way": "deployed"}


@pytest.fixture
def telling(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    settings = {"INLINE_VALIDATION_MAX_BYTES": "1000", "JOB_POLL_S": "5", **ledger.telling(receiver)}
    running = LocalStack(tmp_path_factory.mktemp("kills") / "stack", settings)
    yield running
    running.down()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_runs_killed_with_the_whole_stack_in_each_status_end_as_if_nothing_had_happened(
    telling: LocalStack, receiver: Receiver
) -> None:
    local = telling
    killed: dict[str, int] = {}
    for project, cancelled_in in PROJECTS.items():
        approval = "required" if project == "whole-way" else "automatic"
        local.drop_project(
            project,
            rows("train.jsonl")[:64],
            rows("eval.jsonl")[:16],
            **QUICK,
            deployment={"approval": approval, "rollout": [50, 100]},
        )
        run = _kill_in_each_status(local, project, cancelled_in, killed)
        assert run.status == ENDS[project]
    until(lambda: ledger.at_rest(local), "all is at rest", within_s=120)
    print(f"{len(killed)} kills of everything: {killed}")
    assert killed.keys() == {status.value for status in Status if status not in TERMINAL}
    assert ledger.problems(local, receiver) == []


def _kill_in_each_status(local: LocalStack, project: str, cancelled_in: Status | None, killed: dict[str, int]) -> Run:
    """Look every few milliseconds, kill as soon as a status is new to us; the run once it has ended."""
    approved = False

    def look() -> Run | None:
        nonlocal approved
        found = [run for run in ledger.all_runs(local) if run.project == project]
        if not found:
            return None
        [run] = found
        if run.status not in killed and not run.terminal:
            killed[run.status.value] = local.kill_everything()
            local.up()
        elif run.status is cancelled_in and run.cancel_requested_by is None:
            local.post(f"/api/runs/{run.id}/cancel")
        elif run.status is Status.AWAITING_APPROVAL and not approved:
            local.post(f"/api/runs/{run.id}/approve")
            approved = True
        return run if run.terminal else None

    return until(look, f"{project} ends", within_s=600, every_s=0.002)
