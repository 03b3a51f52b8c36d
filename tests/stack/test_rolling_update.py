"""Fifty runs while hosts of two versions share one state and one bus, and both are killed again and again.

Beside this version: the oldest one with the same schema version, from the history of this repository, and the next one
(`next_host`), whose documents and events have a later number and names that this version does not know.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from local_stack.processes import free_port
from local_stack.stack import Stack, tail
from shared.domain.events import CancelRequested
from shared.domain.run import Run
from shared.domain.topology import TOPIC
from shared.embedded.clock import SystemClock
from shared.records.outbox import OUTBOX
from shared.step_support.outcome import event_of
from tests.next_version import NextBus, NextStore
from tests.paths import ROOT
from tests.receiver import Receiver
from tests.simulation.driver import rows
from tests.stack import ledger, next_host, stub_image
from tests.stack import local as stack_under_test
from tests.stack.local import LocalStack, until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

OLDEST = "4be6fad"
OLDEST_TRAINING = "droptune-training:3"  # an environment that is registered stays
REFUSED, TAKEN = "droptune.stage.refused.v1", re.compile(r"\bjob '?(run-[0-9a-f]{12}-[a-z]+-\d+)'? exists ")
PROJECTS, KILLS, LONGEST_PAUSE_S = 10, 30, 5.0
# How many runs of each project end how.
ENDS = {"deployed": 2, "declined": 1, "rejected": 1, "cancelled": 1}
USE_CASE = {"declined": "worse", "cancelled": "hold training-1"}


def source_of(commit: str, folder: Path) -> Path:
    """The files of an earlier commit; the test is skipped where the history does not have it."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if packed.returncode:
        pytest.skip(f"this clone has no commit {commit}")
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStack]:
    root = tmp_path / "stack"
    stub_image.install(root, OLDEST_TRAINING, next_host.ENVIRONMENT)
    settings = {"JOB_POLL_S": "10", "RETRY_WAIT_S": "5", **ledger.SETTINGS}
    running = LocalStack(root, settings)
    running.stop_part("azure_ml")
    running.start_part("azure_ml", "--slots", "4")
    yield running
    running.down()


class Hosts:
    """One of this version, one of the other; each is started again when it is killed."""

    def __init__(self, local: LocalStack, module: tuple[str, ...], code: Path) -> None:
        self._local, self._other = local, (module, code)
        self._ports = [Stack.load(local.root).parts["host"].port, free_port(None)]
        local.stop_part("host")
        self._running = [self._start(0), self._start(1)]
        self._handled = [0, 0]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        module, code = self._other if number else ((), ROOT)
        options = ("--port", str(self._ports[number]))
        return self._local.start_part("host", *options, module=module, code=code, log=f"host-{number}")

    def kill(self, number: int) -> None:
        """Once it has done something: a message that ten hosts in a row had when they died is a dead letter."""
        before = self._handled[number]
        until(lambda: self.handled()[number] > before or not ledger.depths(self._local), "it handles a message", 120)
        self._handled[number] = self.handled()[number]
        self._running[number].kill()
        self._running[number].wait()
        self._running[number] = self._start(number)

    def end_the_update(self, older: int) -> None:
        """Only now is it certain that a host of the later version has the timers."""
        self._running[older].terminate()
        # One that was killed and started again just before is ended by the signal: it has no handler yet.
        assert self._running[older].wait(120) in (0, -signal.SIGTERM)

    def handled(self) -> list[int]:
        """Messages that each completed."""
        logs = [self._local.root / "logs" / f"host-{number}.log" for number in range(2)]
        return [log.read_text(errors="replace").count("outcome=completed") for log in logs]


@pytest.mark.parametrize("other", [OLDEST, "next"])
def test_nothing_is_lost_or_doubled_where_two_versions_share_a_state_and_are_killed(
    local: LocalStack, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    receiver.got.clear()
    if other == "next":
        ledger.subscribe(local, receiver)  # OLDEST knows of no subscriptions: it would set their deliveries aside
        for module in (ledger, stack_under_test):  # the test reads and sends what only that version knows
            monkeypatch.setattr(module, "SqliteRunStore", NextStore)
        monkeypatch.setattr(stack_under_test, "SqliteEventBus", NextBus)
        hosts = Hosts(local, (next_host.__name__,), ROOT)
    else:
        hosts = Hosts(local, (), source_of(other, tmp_path / other))
    began, chance = time.monotonic(), random.Random(7)
    _drop_all(local)
    for number in range(KILLS):
        time.sleep(chance.uniform(0.5, LONGEST_PAUSE_S))
        hosts.kill(number % 2)
        if number == KILLS // 2:
            until(lambda: len(_runs(local)) == PROJECTS * sum(ENDS.values()), "all runs", within_s=600)
            _cancel(local)
    print(f"{KILLS} kills in {time.monotonic() - began:.0f} s: {_statuses(local)}")
    hosts.end_the_update(older=0 if other == "next" else 1)
    try:
        until(lambda: ledger.at_rest(local), "all is at rest", within_s=1200, every_s=2)
    finally:
        print(f"after {time.monotonic() - began:.0f} s: {_statuses(local)}, {ledger.depths(local)}")
        print(
            [
                (run.dataset.path, run.error)
                for run in _runs(local)
                if run.error and "/rejected-" not in run.dataset.path
            ]
        )
        print(f"handled by this version and by {other}: {hosts.handled()}")
        print(tail(local.root / "logs" / "host-0.log"), tail(local.root / "logs" / "host-1.log"), sep="\n--\n")
    assert all(count > 50 for count in hosts.handled())
    assert _statuses(local) == {end: PROJECTS * count for end, count in ENDS.items()}
    problems = ledger.problems(local, receiver if other == "next" else None)
    if other == OLDEST:
        problems = [problem for problem in problems if problem not in _left_by_refusals(local)]
    assert problems == []
    assert " refuses " not in (local.root / "logs" / "host-0.log").read_text(errors="replace")
    assert not list((local.root / "blobs" / "quarantine").glob("*"))


def _drop_all(local: LocalStack) -> None:
    for project in range(PROJECTS):
        for end, count in ENDS.items():
            for number in range(count):
                folder = f"project-{project}/{end}-{number}"
                recipe = {
                    "base_model": "droptune/tiny-llama",
                    "use_case": USE_CASE.get(end, ""),
                    "evaluation": {"gate": {"min_rows": 2}},
                    "deployment": {"approval": "automatic", "rollout": [100]},
                }
                local.drop(folder, "recipe.yaml", yaml.safe_dump(recipe).encode())
                local.drop(folder, "eval.jsonl", rows(f"project-{project} held out", 6))
                text = rows(folder, 12)
                local.drop(folder, "train.jsonl", text + b"{not json\n" if end == "rejected" else text)


def _runs(local: LocalStack) -> list[Run]:
    return ledger.all_runs(local)


def _statuses(local: LocalStack) -> dict[str, int]:
    return dict(Counter(run.status.value for run in _runs(local)))


def _left_by_refusals(local: LocalStack) -> set[str]:
    """What `ledger.problems` says of jobs that a host of OLDEST refused to share.

    That version refuses the job that this one has submitted for the same attempt, as its image is another one. If its
    refusal is handled before this version has noted the job, the job is cancelled, unless it is done by then, and the
    attempt is made again.
    """
    events = [entry["body"] for entry in ledger.documents(local, OUTBOX) if entry["destination"] == TOPIC]
    reasons = [event["data"]["problem"]["message"] for event in events if event["type"] == REFUSED]
    names = [found[1] for reason in reasons if (found := TAKEN.search(reason))]
    return {f"no run knows {name}, which is {state}" for name in names for state in ("Canceled", "Completed")}


def _cancel(local: LocalStack) -> None:
    """As the API would, but for the hosts that die."""
    now = SystemClock().now()
    held = [run for run in _runs(local) if "/cancelled-" in run.dataset.path]
    local.publish([event_of(run, CancelRequested(by="somebody"), now).to_cloudevent() for run in held])
