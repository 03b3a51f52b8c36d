"""Two hundred drops over ten projects and three hosts, while the machine does its worst for more than two minutes.

A host is killed every few seconds. The machine's clock jumps by an hour forward and back, then back and forward. The
disk is full for half a minute. Every message of a host has tracing properties. The jobs train nothing (`stub_image`),
four at a time, so that most of the runs wait in the queue while hosts die.

A clock that jumps needs a C compiler (`shifted_clock.c`), a full disk a file system of its own, which only root may
mount. Where a machine has neither, what this would show is skipped by name; all else is held to the same counts.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from local_stack.processes import free_port
from local_stack.stack import Stack, tail
from shared.domain.events import CancelRequested
from shared.step_support.outcome import event_of
from tests.receiver import Receiver
from tests.simulation.driver import rows
from tests.stack import ledger, stub_image, traced_host
from tests.stack.local import LocalStack, until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(3600)]

LONGEST_PAUSE_S = 5.0
PROJECTS = 10
# How many runs of each project end how. A repeated drop has the bytes of a good one, under another name.
ENDS = {"deployed": 3, "declined": 5, "failed": 2, "rejected": 4, "duplicate": 3, "cancelled": 3}
USE_CASE = {"declined": "worse", "failed": "broken", "cancelled": "hold training-1"}
# The machine's clock, in seconds beside the true time, and how long it stays so.
CLOCK = ((0, 20), (3600, 25), (0, 20), (-3600, 25), (0, 5))
FULL_DISK_S = 30
DISK_MB = 2000


class Machine:
    """What the stack runs on: its clock and its disk."""

    def __init__(self, root: Path, *, can_fill_disk: bool) -> None:
        self.root, self.can_fill_disk = root, can_fill_disk
        self.began, self.times_full = datetime.now(UTC), 0
        self._ballast = root / "ballast"
        self._offset = root / "clock"
        self._offset.write_bytes(bytes(8))
        library = root / "shifted_clock.so"
        command: list[str | Path] = [
            "cc",
            "-shared",
            "-fPIC",
            "-O2",
            "-o",
            library,
            Path(__file__).with_name("shifted_clock.c"),
            "-ldl",
        ]
        self.environment: dict[str, str] = {}
        if shutil.which("cc"):
            subprocess.run(command, check=True)
            self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(self._offset)}

    def set_clock(self, seconds: int) -> None:
        with self._offset.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def fill_disk(self, seconds: float) -> None:
        """Until not a byte is left, again and again; files that others delete meanwhile make no room for long."""
        end = time.monotonic() + seconds
        with self._ballast.open("ab", buffering=0) as file:
            while time.monotonic() < end:
                try:
                    file.write(bytes(1 << 20))
                except OSError:
                    self.times_full += 1
                    time.sleep(0.05)
        self._ballast.unlink()


@contextmanager
def own_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system at the folder; False if this is not allowed."""
    size = f"size={DISK_MB}m"
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


class Hosts:
    """Three of them on ports of their own; one that is killed is started again."""

    def __init__(self, local: LocalStack) -> None:
        self._local, self._random = local, random.Random(4)
        self._ports = [Stack.load(local.root).parts["host"].port, free_port(None), free_port(None)]
        local.stop_part("host")
        self._running = [self._start(port) for port in self._ports]
        self.kills = 0

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return self._local.start_part("host", "--port", str(port), module=[traced_host.__name__])

    def kill_until(self, over: threading.Event) -> None:
        while not over.wait(self._random.uniform(0.5, LONGEST_PAUSE_S)):
            number = self._random.randrange(len(self._ports))
            # On a full disk a host may end by itself, or not come up.
            self._running[number].kill()
            self._running[number].wait()
            self.start_again(number)
            self.kills += 1

    def start_again(self, number: int) -> None:
        self._running[number] = self._start(self._ports[number])

    def all_run(self) -> bool:
        """Start those again that ended by themselves, as whatever runs a host in earnest does."""
        for number, host in enumerate(self._running):
            if host.poll() is not None:
                print(f"host {number} ended with {host.returncode} and is started again")
                self.start_again(number)
        return True


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("load")
    with own_disk(folder) as has_disk:
        yield Machine(folder, can_fill_disk=has_disk)


@pytest.fixture(scope="module")
def local(machine: Machine, receiver: Receiver) -> Iterator[LocalStack]:
    root = machine.root / "stack"
    stub_image.install(root)
    settings = {"JOB_POLL_S": "10", "RETRY_WAIT_S": "5", **ledger.SETTINGS, **machine.environment}
    running = LocalStack(root, settings)
    ledger.subscribe(running, receiver)
    running.stop_part("azure_ml")
    running.start_part("azure_ml", "--slots", "4")
    yield running
    running.down()


@pytest.fixture(scope="module")
def kills(local: LocalStack, machine: Machine) -> int:
    """How often a host was killed on the way to the end of all runs."""
    hosts, over, began = Hosts(local), threading.Event(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        killing = pool.submit(hosts.kill_until, over)
        worst = pool.submit(_do_the_worst, machine)
        _drop_all(local)
        until(lambda: len(ledger.all_runs(local)) == PROJECTS * sum(ENDS.values()), "all runs", within_s=600)
        print(f"all runs after {time.monotonic() - began:.0f} s")
        _cancel(local)
        worst.result()
        over.set()
        killing.result()
    print(f"{hosts.kills} kills in {time.monotonic() - began:.0f} s: {_statuses(local)}")
    try:
        until(lambda: hosts.all_run() and ledger.at_rest(local), "all is at rest", within_s=3000, every_s=2)
    except AssertionError:
        print(_statuses(local), ledger.depths(local), tail(local.root / "logs" / "host.log", 60))
        raise
    print(f"at rest after {time.monotonic() - began:.0f} s")
    return hosts.kills


def _do_the_worst(machine: Machine) -> None:
    for offset, seconds in CLOCK:
        machine.set_clock(offset)
        time.sleep(seconds)
    if machine.can_fill_disk:
        machine.fill_disk(FULL_DISK_S)


def _drop_all(local: LocalStack) -> None:
    for project, end, number in _drops():
        folder = f"{project}/{end}-{number}"
        recipe = {
            "base_model": "droptune/tiny-llama",
            "use_case": USE_CASE.get(end, ""),
            "evaluation": {"gate": {"min_rows": 2}},
            "deployment": {"approval": "automatic", "rollout": [100]},
        }
        text = rows(folder, 12)
        local.drop(folder, "recipe.yaml", yaml.safe_dump(recipe).encode())
        local.drop(folder, "eval.jsonl", rows(f"{project} held out", 6))
        local.drop(folder, "train.jsonl", text + b"{not json\n" if end == "rejected" else text)
        if end == "deployed" and number < ENDS["duplicate"]:
            local.drop(folder, "train-again.jsonl", text)


def _drops() -> Iterator[tuple[str, str, int]]:
    for index in range(PROJECTS):
        for end, count in ENDS.items():
            if end != "duplicate":
                yield from ((f"project-{index}", end, number) for number in range(count))


def _cancel(local: LocalStack) -> None:
    """As the API would, but for the hosts that die."""
    cancel_requests = [
        event_of(run, CancelRequested(by="somebody"), datetime.now(UTC))
        for run in ledger.all_runs(local)
        if "/cancelled-" in run.dataset.path
    ]
    local.publish([cancel_request.to_cloudevent() for cancel_request in cancel_requests])


def _statuses(local: LocalStack) -> dict[str, int]:
    return dict(Counter(run.status.value for run in ledger.all_runs(local)))


def test_all_runs_end_as_foreseen_though_hosts_die_and_the_clock_and_the_disk_fail(
    local: LocalStack, kills: int
) -> None:
    assert kills >= 20
    assert _statuses(local) == {end: PROJECTS * count for end, count in ENDS.items()}
    for run in ledger.all_runs(local):
        expected = run.dataset.path.split("/")[2].split("-")[0]
        assert run.status in (expected, "duplicate") if expected == "deployed" else run.status == expected, run
    for _, same in groupby(sorted(run.dataset.sha256 for run in ledger.all_runs(local))):
        assert len(list(same)) <= 2


def test_nothing_is_lost_or_doubled(local: LocalStack, receiver: Receiver, kills: int) -> None:
    assert ledger.problems(local, receiver) == []


def test_each_candidate_is_evaluated_once_and_projects_do_not_wait_for_one_another(
    local: LocalStack, kills: int
) -> None:
    jobs = Counter((job["name"].split("-")[2], job["status"]) for job in local.jobs())
    print(f"jobs: {dict(jobs)}")
    assert jobs["evaluation", "Completed"] == PROJECTS * (ENDS["deployed"] + ENDS["declined"])
    assert jobs["training", "Completed"] == jobs["evaluation", "Completed"]


def test_hosts_saw_a_clock_an_hour_ahead_and_an_hour_behind(local: LocalStack, machine: Machine, kills: int) -> None:
    if not machine.environment:
        pytest.skip("no C compiler is here: the clock did not jump")
    times = [line.at for run in ledger.all_runs(local) for line in run.history]
    assert max(times) > machine.began + timedelta(minutes=55)
    assert min(times) < machine.began - timedelta(minutes=50)


def test_the_disk_was_full(machine: Machine, kills: int) -> None:
    if not machine.can_fill_disk:
        pytest.skip("no file system may be mounted here: the disk was never full")
    assert machine.times_full >= FULL_DISK_S  # of twenty looks in each second
