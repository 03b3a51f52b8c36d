"""`make smoke-emulators`: every step of the smoke test with its real commands, its failures, and its removal.

How it ends in general is tested in tests/unit/smoke, with commands that take no time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack import emulators, stack
from local_stack.processes import marked
from tests.paths import ROOT
from tests.smoke.__main__ import STEPS
from tests.stack.local import bearer, until

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1200)]

IN_AZURE_ONLY = {"GPU"}


class Smoke:
    def __init__(self, file: Path) -> None:
        self.file = file

    def start(self, *options: str, **environ: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.smoke",
            *(options or ("--emulators", "--yes", "--report", str(self.file))),
        ]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, text=True, stdout=pipe, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text())) if self.file.exists() else {"steps": []}

    def statuses(self) -> dict[str, str]:
        return {step["name"]: step["status"] for step in self.report()["steps"]}

    @property
    def folder(self) -> Path:
        return ROOT / ".droptune" / str(self.report()["environment"])

    def watches(self) -> list[str]:
        lines = subprocess.run(["ps", "-ewwo", "args"], text=True, capture_output=True, check=True).stdout.splitlines()
        return [line for line in lines if f" -m cli watch --project {self.report()['environment']}" in line]

    def reaches(self, step: str) -> None:
        until(lambda: step in self.statuses(), f"the step {step} begins", within_s=600)

    def inject_fault(self, **fault: Any) -> None:
        running = stack.Stack.load(self.folder / "stack")
        url = f"http://127.0.0.1:{running.parts['azure_ml'].port}/_emulator/faults"
        httpx.post(url, json=fault, headers=bearer(running.root), trust_env=False).raise_for_status()


@pytest.fixture
def smoke(tmp_path: Path) -> Iterator[Smoke]:
    try:
        emulators.install()
    except emulators.NotInstalled as error:
        pytest.skip(str(error))
    found = Smoke(tmp_path / "report.json")
    yield found
    left = marked((found.folder / "stack").resolve())
    for process in left:
        process.kill()
    assert (left, found.folder.exists()) == ([], False)


def test_every_step_passes_on_the_emulators_and_nothing_is_left(smoke: Smoke) -> None:
    process = smoke.start()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert smoke.report()["result"] == "passed"
    assert smoke.statuses() == {name: "not applicable" if name in IN_AZURE_ONLY else "passed" for name in STEPS}
    for step in smoke.report()["steps"]:
        for command in STEPS[step["name"]].get("command", ()):
            expected = "not applicable" if command.get("on") == "azure" else "passed"
            assert step["evidence"][command["name"]]["status"] == expected, command["name"]


@pytest.mark.parametrize(
    ("setting", "value", "step"),
    [
        ("JOB_POLL_S", "often", "provision"),
        ("TRAINING_ENVIRONMENT", "droptune-training:999", "base model"),
        ("SERVING_ENVIRONMENT", "droptune-serving:999", "doctor"),
    ],
)
def test_a_stack_that_is_set_up_wrong_fails_its_step_and_is_removed(
    setting: str, value: str, step: str, smoke: Smoke
) -> None:
    process = smoke.start(**{setting: value})
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert smoke.report()["result"] == f"failed: {step}"
    assert smoke.statuses()["removal"] == "passed"


def test_a_training_job_that_fails_ends_the_tuning_and_all_is_removed(smoke: Smoke) -> None:
    process = smoke.start()
    smoke.reaches("doctor")
    smoke.inject_fault(kind="job_failure", count=9)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert smoke.report()["result"] == "failed: tuning"
    assert smoke.report()["steps"][-2]["evidence"]["run"]["problem"].startswith("code 12: ")
    assert smoke.statuses()["removal"] == "passed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_while_a_model_is_trained(number: signal.Signals, smoke: Smoke) -> None:
    process = smoke.start()
    smoke.reaches("tuning")
    until(lambda: list(smoke.folder.rglob("*-training-1/user_logs/std_log.txt")), "the training job runs", within_s=300)
    if number == signal.SIGKILL:
        process.kill()  # and its command goes on
        process.wait()
        assert smoke.report()["result"] == "not removed"
        assert marked((smoke.folder / "stack").resolve())
        assert smoke.watches()
        again = smoke.start("--resume-removal", str(smoke.file))
        output, _ = again.communicate()
        assert again.returncode == 1, output
        assert smoke.report()["result"] == "failed: tuning"
        assert smoke.watches() == []
        process.communicate()
    else:
        os.killpg(process.pid, number)  # as a terminal does
        output, _ = process.communicate()
        assert process.returncode == 130, output
    assert smoke.statuses()["removal"] == "passed"
