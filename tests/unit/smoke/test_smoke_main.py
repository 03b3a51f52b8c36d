"""However a smoke test ends, what it made is removed, and its report says where it stands.

Here the steps have commands of their own: `provision` makes a file, the machine that costs money, and `removal` deletes
it. With the real commands: tests/stack/test_smoke.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.smoke.__main__ import STEPS
from tests.stack.local import until

DRIVER = Path(__file__).with_name("driver.py")
STEPS_AFTER = list(STEPS)[list(STEPS).index("provision") : -1]
pytestmark = pytest.mark.ci


class Smoke:
    """One smoke test whose machine is the file `machine`."""

    def __init__(self, place: Path) -> None:
        self.place, self.machine, self.file = place, place / "machine", place / "report.json"
        self.steps: dict[str, dict[str, Any]] = {
            "prerequisites": {"command": [self.shell("true")]},
            **{name: {"command": [self.shell("true")]} for name in STEPS_AFTER},
            "removal": {
                "command": [
                    self.shell("rm $MACHINE", otherwise="not done"),
                    self.shell("rm -rf {folder}", otherwise="not done"),
                    self.shell("ls $MACHINE* | cat", none=True),
                ]
            },
        }
        self.steps["provision"]["command"].insert(0, self.shell("touch $MACHINE", "the machine"))

    def shell(self, script: str, name: str = "", **keys: Any) -> dict[str, Any]:
        return {"name": name or script, "run": ["sh", "-c", script], **keys}

    def start(self, *options: str) -> subprocess.Popen[str]:
        (self.place / "commands.json").write_text(json.dumps(self.steps))
        chosen = options or ("--emulators", "--yes", "--report", str(self.file))
        command = [sys.executable, str(DRIVER), str(self.place / "commands.json"), *chosen]
        environ = {**os.environ, "MACHINE": str(self.machine), "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env=environ, text=True, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        output, errors = process.communicate()
        return process.returncode, output + errors

    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))

    def statuses(self) -> dict[str, str]:
        return {step["name"]: step["status"] for step in self.report()["steps"]}


@pytest.fixture
def smoke(tmp_path: Path) -> Iterator[Smoke]:
    found = Smoke(tmp_path)
    yield found
    if found.file.exists():
        folder = ROOT / ".droptune" / found.report()["environment"]
        left = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        assert left is False


def test_a_smoke_test_whose_steps_all_pass_leaves_nothing(smoke: Smoke) -> None:
    code, output = smoke.run()
    assert code == 0, output
    assert not smoke.machine.exists()
    assert list(smoke.statuses().items()) == [(name, "passed") for name in STEPS]
    assert smoke.report()["result"] == "passed"


@pytest.mark.few_cases(2, ci=4)
@pytest.mark.parametrize("step", STEPS_AFTER)
def test_a_step_that_fails_leads_to_the_removal_at_once(step: str, smoke: Smoke) -> None:
    smoke.steps[step]["command"] += [
        smoke.shell("echo out of order >&2; exit 7", "broken"),
        smoke.shell("touch $MACHINE.2"),
    ]
    code, output = smoke.run()
    assert code == 1, output
    assert list(smoke.place.glob("machine*")) == []
    names = list(STEPS)
    tried = names[: names.index(step)]
    expected = {**dict.fromkeys(tried, "passed"), step: "failed", "removal": "passed"}
    assert smoke.statuses() == expected
    report = smoke.report()
    failed = report["steps"][-2]
    assert (failed["problem"], failed["remedy"]) == ("broken: code 7: out of order", STEPS[step]["remedy"])
    assert report["result"] == f"failed: {step}"


@pytest.mark.few_cases(2, ci=2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["provision", "tuning"])
def test_a_signal_leads_to_the_removal_and_a_second_one_does_not_stop_it(
    step: str, number: signal.Signals, smoke: Smoke
) -> None:
    smoke.steps[step]["command"].append(smoke.shell("touch $MACHINE.busy; sleep 600"))
    smoke.steps["removal"]["command"].insert(0, smoke.shell("sleep 1; rm $MACHINE.busy", otherwise="not done"))
    process = smoke.start()
    until(lambda: (smoke.place / "machine.busy").exists(), "the step is under way", within_s=60)
    for _ in range(3):
        process.send_signal(number)
    output, errors = process.communicate()
    assert process.returncode == 128 + number, output + errors
    assert list(smoke.place.glob("machine*")) == []
    assert (smoke.statuses()[step], smoke.statuses()["removal"]) == ("failed", "passed")


def test_a_killed_smoke_test_says_where_it_stands_and_its_command_removes_everything(tmp_path: Path) -> None:
    """A step that did not finish is no pass, though all is removed."""
    (place := tmp_path / "killed").mkdir()
    smoke = Smoke(place)
    smoke.steps["tuning"]["command"].append(smoke.shell("touch $MACHINE.busy; sleep 600"))
    smoke.steps["removal"]["command"].insert(0, smoke.shell("rm $MACHINE.busy", otherwise="not done"))
    process = smoke.start()
    until(lambda: (place / "machine.busy").exists(), "the step is under way", within_s=60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    report = smoke.report()
    assert (report["result"], report["steps"][-1]["name"]) == ("not removed", "tuning")
    assert report["steps"][-1]["status"] == "running"
    assert report["remove"].endswith(f"-m tests.smoke --resume-removal {smoke.file}")
    code, output = smoke.run("--resume-removal", str(smoke.file))
    assert code == 1, output
    assert list(place.glob("machine*")) == []
    assert smoke.report()["result"] == "failed: tuning"
    assert (smoke.statuses()["tuning"], smoke.statuses()["removal"]) == ("failed", "passed")
    assert smoke.report()["steps"][-2]["problem"] == "it did not finish"


def test_what_is_removed_in_the_end_counts_not_what_could_not_be_at_first(smoke: Smoke) -> None:
    code, output = smoke.run("--emulators", "--yes", "--keep", "--report", str(smoke.file))
    assert (code, smoke.report()["result"]) == (0, "not removed"), output
    command = smoke.steps["removal"]["command"][0]
    smoke.steps["removal"]["command"][0] = smoke.shell("exit 1", otherwise="not done")
    assert smoke.run("--resume-removal", str(smoke.file))[0] == 3
    assert smoke.report()["result"] == "failed: removal"
    smoke.steps["removal"]["command"][0] = command
    assert smoke.run("--resume-removal", str(smoke.file))[0] == 0
    assert (smoke.report()["result"], smoke.machine.exists()) == ("passed", False)


def test_a_smoke_test_that_was_killed_between_two_steps_is_no_pass(smoke: Smoke) -> None:
    smoke.run("--emulators", "--yes", "--keep", "--report", str(smoke.file))
    report = smoke.report()
    smoke.file.write_text(json.dumps(report | {"steps": report["steps"][:4]}))
    assert smoke.run("--resume-removal", str(smoke.file))[0] == 1
    assert smoke.report()["result"] == "failed: doctor"
    assert not smoke.machine.exists()


def test_where_nothing_was_made_nothing_is_removed(smoke: Smoke) -> None:
    smoke.steps["prerequisites"]["command"] = [smoke.shell("exit 1")]
    assert smoke.run()[0] == 1
    before = smoke.file.read_text()
    smoke.machine.touch()  # of something else
    code, output = smoke.run("--resume-removal", str(smoke.file))
    assert (code, output.splitlines()[0]) == (0, "nothing was made")
    assert (smoke.machine.exists(), smoke.file.read_text()) == (True, before)


@pytest.mark.few_cases(2, ci=2)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "it is no report of a smoke test"),
        ('{"environment": "smoke-000000"}', "it is no report of a smoke test"),
    ],
)
def test_what_is_no_report_is_said_in_one_line(content: str | None, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    if content is not None:
        file.write_text(content)
    assert Smoke(tmp_path).run("--resume-removal", str(file)) == (2, f"{file}: {problem}\n")


def test_what_cannot_be_removed_is_named_and_has_an_exit_code_of_its_own(smoke: Smoke) -> None:
    smoke.steps["removal"]["command"][0] = smoke.shell("exit 1", otherwise="not done")
    code, output = smoke.run()
    assert code == 3, output
    assert smoke.report()["result"] == "failed: removal"
    assert f"left: {smoke.machine}" in smoke.report()["steps"][-1]["problem"]
    assert "removal" in output


def test_kept_for_inspection_nothing_is_removed_and_the_cost_of_an_hour_is_named(smoke: Smoke) -> None:
    smoke.steps["questions"]["command"] = [smoke.shell("exit 1")]
    code, output = smoke.run("--emulators", "--yes", "--keep", "--report", str(smoke.file))
    assert code == 1
    assert smoke.machine.exists()
    assert re.search("kept, in Azure at up to 4.67 USD an hour; this removes it: .* --resume-removal", output)
    shutil.rmtree(ROOT / ".droptune" / smoke.report()["environment"])


def test_a_step_that_takes_longer_than_its_limit_is_ended(smoke: Smoke) -> None:
    smoke.steps["tuning"] |= {"minutes": {"job": [0, 0.02]}, "command": [smoke.shell("sleep 600")]}
    code, output = smoke.run()
    assert code == 1, output
    assert not smoke.machine.exists()
    assert smoke.report()["steps"][-2]["problem"] == "not done after 0.02 minutes, its limit"


def test_all_prerequisites_that_are_missing_are_in_one_report_and_nothing_is_made(smoke: Smoke) -> None:
    smoke.steps["prerequisites"]["command"] = [
        smoke.shell("exit 1", "the first", remedy="install it"), smoke.shell("true", "the second"),
        smoke.shell("exit 2", "the third", remedy="ask for it"),
    ]  # fmt: skip
    code, output = smoke.run()
    assert code == 1
    assert not smoke.machine.exists()
    assert smoke.statuses() == {"prerequisites": "failed"}
    found = smoke.report()["steps"][0]
    assert found["problem"] == "the first: code 1: see above; the third: code 2: see above"
    assert "failed: the first; code 1: see above; install it" in output
    assert "failed: the third; code 2: see above; ask for it" in output
    assert output.count("code 2") == 1
    assert re.search(r"prerequisites +failed +0 +the first, the third", output)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--max-usd", "10", "--yes"), r"it may cost 33\.74 USD, --max-usd is 10"),
        (("--usd-per-hour", "100", "--yes"), r"it may cost 571\.58 USD, --max-usd is 40"),
        ((), "not confirmed"),
    ],
)
def test_what_costs_more_than_allowed_or_is_not_confirmed_does_not_begin(
    options: tuple[str, ...], problem: str, smoke: Smoke
) -> None:
    code, output = smoke.run("--emulators", "--report", str(smoke.file), *options)
    assert code == 1
    assert not smoke.machine.exists()
    assert smoke.statuses() == {"prerequisites": "passed", "cost": "failed"}
    assert re.search(problem, smoke.report()["steps"][-1]["problem"]), output
    assert "USD expected" in output


def test_without_a_list_price_it_does_not_begin_in_azure(smoke: Smoke) -> None:
    code, _ = smoke.run("--location", "eastus", "--yes", "--report", str(smoke.file))
    assert code == 1
    assert smoke.statuses() == {"prerequisites": "passed", "cost": "failed"}
    problem = "no list price of Standard_NC24ads_A100_v4 was found; look it up and pass --usd-per-hour"
    assert smoke.report()["steps"][-1]["problem"] == problem


def test_a_folder_that_no_smoke_test_made_is_never_deleted(smoke: Smoke) -> None:
    smoke.file.write_text(
        json.dumps({"platform": "emulators", "environment": "../src", "names": {}, "cost": {}, "steps": []})
    )
    code, output = smoke.run("--resume-removal", str(smoke.file))
    assert code == 1
    assert "../src is not the name of a smoke test" in output
    smoke.file.unlink()


COSTS_TOO_MUCH = """
import argparse, json, sys
from pathlib import Path
from tests.smoke import commands
for step in commands.TABLE["step"]:
    step["command"] = [{"name": "wait", "run": ["sleep", "600"]}]
commands.TABLE |= {"known": [], "failed": []}
from tests.smoke.__main__ import LimitReached, Smoke
spent = {"name": "tuning", "status": "passed", "started": 0.0, "seconds": 36000.0, "evidence": {}}
body = {"platform": "emulators", "environment": "smoke-000000", "names": {}, "cost": {"usd_per_hour": 3.0}}
smoke = Smoke(Path(sys.argv[1]), {**body, "steps": [spent]}, argparse.Namespace(max_usd=39.0))
try:
    smoke.step("questions")
except LimitReached as error:
    print(error)
"""


def test_a_machine_that_slept_meanwhile_has_paid_the_other_one_all_the_time(tmp_path: Path) -> None:
    """The limits of the steps keep the cost below the bound, unless a step ends later than they allow."""
    command = [sys.executable, "-c", COSTS_TOO_MUCH, str(tmp_path / "report.json")]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "40.00 USD may have been spent, --max-usd is 39"
