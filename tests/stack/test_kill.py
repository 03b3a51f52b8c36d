"""`kill -9` of the whole stack, jobs and servers included, in every status: runs end as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.domain.run import TERMINAL, Run, Status
from tests.receiver import Receiver
from tests.stack import ledger
from tests.stack.local import LocalStack, rows, until
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]


# The first is cancelled while it trains, the second during its rollout, the third is let live.
PROJECTS = {"stopped": Status.TRAINING, "taken-back": Status.DEPLOYING, "whole-way": None}
ENDS = {"stopped": "cancelled", "taken-back": "rolled_back", "whole-way": "deployed"}


@pytest.fixture
def notifying(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    settings = {"INLINE_VALIDATION_MAX_BYTES": "1000", "JOB_POLL_S": "5", **ledger.SETTINGS}
    running = LocalStack(tmp_path_factory.mktemp("kills") / "stack", settings)
    ledger.subscribe(running, receiver)
    yield running
    running.down()


def test_runs_killed_with_the_whole_stack_in_each_status_end_as_if_nothing_had_happened(
    notifying: LocalStack, receiver: Receiver
) -> None:
    local = notifying
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
    # No run has to wait for another one's turn at its endpoint.
    assert killed.keys() == {status.value for status in Status if status not in TERMINAL} - {"trained"}
    assert ledger.problems(local, receiver) == []


def _kill_in_each_status(local: LocalStack, project: str, cancelled_in: Status | None, killed: dict[str, int]) -> Run:
    """Look every few milliseconds, kill as soon as a status is new to us; the run once it has ended."""
    approved = False

    def check() -> Run | None:
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
            local.approve(run.id)
            approved = True
        return run if run.terminal else None

    return until(check, f"{project} ends", within_s=600, every_s=0.002)
