"""A hundred runs at once, three hosts beside each other, and for two minutes one of them is killed every few seconds.

Real jobs, made short by the recipe; two at a time, so that most of the runs wait in the queue while hosts die.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from local_stack.processes import free_port
from local_stack.stack import Stack, tail
from shared.domain.events import CancelRequested
from shared.step_support.outcome import event_of
from tests.receiver import Receiver
from tests.stack import ledger
from tests.stack.local import LocalStack, rows, until
from tests.stack.scenarios import FAILS_GATE, QUICK

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(3600)]

KILLING_S, LONGEST_PAUSE_S = 120.0, 5.0
# How many runs end how; the repeated ones are the bytes of a good one dropped again under other names.
ENDS = {"declined": 24, "deployed": 4, "rejected": 24, "duplicate": 24, "cancelled": 24}
# The rows with which the other scenarios are deployed too: how a run ends is not to depend on what a few rows teach.
TRAIN, HELD_OUT = rows("train.jsonl")[:64], rows("eval.jsonl")[:16]


class Hosts:
    """Three of them on ports of their own; one that is killed is started again."""

    def __init__(self, local: LocalStack) -> None:
        self._local, self._rng = local, random.Random(4)
        self._ports = [Stack.load(local.root).parts["host"].port, free_port(None), free_port(None)]
        local.stop_part("host")
        self._running = [self._start(port) for port in self._ports]
        self.kills = 0

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return self._local.start_part("host", "--port", str(port))

    def kill_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._rng.uniform(0.5, LONGEST_PAUSE_S))
            number = self._rng.randrange(len(self._ports))
            assert self._running[number].poll() is None, "it ended though nobody killed it"
            self._running[number].kill()
            self._running[number].wait()
            self._running[number] = self._start(self._ports[number])
            self.kills += 1


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    running = LocalStack(
        tmp_path_factory.mktemp("load") / "stack",
        {"JOB_POLL_S": "30", "RETRY_WAIT_S": "0.2", **ledger.webhook_settings(receiver)},
    )
    running.stop_part("azure_ml")
    running.start_part("azure_ml", "--slots", "2")
    yield running
    running.down()


@pytest.fixture(scope="module")
def kills(local: LocalStack) -> int:
    """How often a host was killed on the way to the end of all runs."""
    hosts, began = Hosts(local), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(hosts.kill_for, KILLING_S)
        _drop_all(local)
        until(lambda: len(ledger.all_runs(local)) == sum(ENDS.values()), "a hundred runs", within_s=300)
        print(f"a hundred runs after {time.monotonic() - began:.0f} s")
        _cancel(local)
        killing.result()
        print(f"{hosts.kills} kills in {time.monotonic() - began:.0f} s: {_statuses(local)}")
    try:
        until(lambda: ledger.at_rest(local), "all is at rest", within_s=3000, every_s=2)
    except AssertionError:
        print(_statuses(local), ledger.depths(local), tail(local.root / "logs" / "host.log", 60))
        raise
    print(f"at rest after {time.monotonic() - began:.0f} s")
    return hosts.kills


def _drop_all(local: LocalStack) -> None:
    training = rows("train.jsonl")
    for number in range(ENDS["deployed"]):
        project = f"deployed-{number}"
        local.drop_project(project, TRAIN, HELD_OUT, **QUICK, deployment={"rollout": [100]})
        for again in range(ENDS["duplicate"] // ENDS["deployed"]):
            local.drop(project, f"train-again-{again}.jsonl", b"".join(TRAIN))
    for number in range(ENDS["rejected"]):
        local.drop_project(f"rejected-{number}", [*training[:20], b"{not json\n"], HELD_OUT, **QUICK)
    for end in ("declined", "cancelled"):  # those that are cancelled have to wait long enough for it
        for number in range(ENDS[end]):
            local.drop_project(f"{end}-{number}", training[number * 20 : number * 20 + 20], HELD_OUT, **FAILS_GATE)


def _cancel(local: LocalStack) -> None:
    """As the API would, but for the hosts that die."""
    cancel_requests = [
        event_of(run, CancelRequested(by="somebody"), datetime.now(UTC))
        for run in ledger.all_runs(local)
        if run.project.startswith("cancelled")
    ]
    local.publish([cancel_request.to_cloudevent() for cancel_request in cancel_requests])


def _statuses(local: LocalStack) -> dict[str, int]:
    return dict(Counter(run.status.value for run in ledger.all_runs(local)))


def test_all_hundred_runs_end_as_they_should_though_hosts_die_all_the_time(local: LocalStack, kills: int) -> None:
    assert kills >= KILLING_S / LONGEST_PAUSE_S / 2
    assert _statuses(local) == ENDS
    named = {run.project.split("-")[0] for run in ledger.all_runs(local) if run.status != "duplicate"}
    assert named == ENDS.keys() - {"duplicate"}
    for run in ledger.all_runs(local):
        assert run.status in (run.project.split("-")[0], "duplicate")


def test_nothing_is_lost_or_doubled(local: LocalStack, receiver: Receiver, kills: int) -> None:
    assert ledger.problems(local, receiver) == []
    cancelled = {run.id for run in ledger.all_runs(local) if run.status == "cancelled"}
    # A job may have completed before its run was cancelled.
    of_others = [job for job in local.jobs() if job["name"].rsplit("-", 2)[0] not in cancelled]
    jobs = Counter((job["name"].split("-")[2], job["status"]) for job in of_others)
    print(f"jobs: {dict(jobs)}")
    trained = ENDS["declined"] + ENDS["deployed"]
    assert jobs == {("training", "Completed"): trained, ("evaluation", "Completed"): trained}
    assert all(job["attempt"] == 1 for job in local.jobs()), "the platform lived all the time"
