"""Each key of a command, with real programs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.smoke import commands as module
from tests.smoke.commands import TABLE, Commands, masked


def shell(script: str, **keys: Any) -> dict[str, Any]:
    return {"name": "a command", "run": ["sh", "-c", script], **keys}


def failed(problem: str, remedy: str = "") -> dict[str, str]:
    return {"status": "failed", "problem": problem, "remedy": remedy}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (shell("echo all is well"), {"status": "passed", "seen": "all is well"}),
        (shell("echo 3.13", pattern=r"^(?P<version>[\d.]+)$"), {"status": "passed", "version": "3.13"}),
        (shell("echo eyJ", pattern="(?P<token>.+)", secret=True), {"status": "passed"}),
        (shell("exit 9", on="azure"), {"status": "not applicable"}),
        (shell("echo no >&2; exit 9", remedy="do {env}"), failed("code 9: no", "do e.1")),
        (shell("echo x", pattern="y", remedy="{z}?"), failed("it printed 'x'", "??")),
        (shell("echo '{missing}'", remedy="do {env}"), failed("'missing' is not known", "do e.1")),
        (shell("echo '{missing}'", otherwise="not done"),
         {"status": "not done", "problem": "'missing' is not known", "remedy": ""}),
        (shell("exit 1", otherwise="not done"), {"status": "not done", "problem": "code 1: see above", "remedy": ""}),
        ({"name": "gone", "run": ["no-such-program"]},
         failed("there is no program no-such-program")),
        (shell("echo e.1", pattern="^{env}$"), {"status": "passed", "seen": "e.1"}),
        # What is filled into a pattern is no pattern.
        (shell("echo ex1", pattern="^{env}$"), failed("it printed 'ex1'")),
        (shell("true", none=True), {"status": "passed"}),
        (shell("echo a group", none=True), failed("left: a group")),
        (shell("echo a; echo e.1/b", none=True, pattern="{env}/"), failed("left: e.1/b")),
        (shell("echo a", none=True, pattern="{env}/"), {"status": "passed"}),
        (shell("echo a vault", none=True, otherwise="kept", remedy="for 90 days"),
         {"status": "kept", "problem": "left: a vault", "remedy": "for 90 days"}),
        (shell("echo '{missing}'", none=True, unknown="not tried"),
         {"status": "not tried", "problem": "'missing' is not known", "remedy": ""}),
        (shell("printf '11111111-0000-0000-0000-00000000abcd\\n11111111-0000-0000-0000-00000000abce\\n'",
               masked="hash", pattern="^(?P<id>.+)$"),
         {"status": "passed", "id": "11111111-0000-0000-0000-00000000abcd"}),
        (shell("echo 11111111-0000-0000-0000-00000000abce", masked="hash", pattern="^(?P<id>.+)$"),
         failed("it printed ''")),
        (shell("exit 9", masked="missing"), failed("'missing' is not known")),
        (shell("exit 1", none=True), failed("code 1: see above")),
        (shell("echo {0}", each=["printf", "a x\\nc y\\n"]), {"status": "passed", "seen": "a\nc"}),
        (shell("test '{0}' != b", each=["true"]), {"status": "passed", "seen": ""}),
        (shell("test '{0}' != b", each=["printf", "a\\nb\\n"]), failed("code 1: see above")),
        (shell("echo f 96 48", pattern=r"(?P<limit>\d+) (?P<used>\d+)", twice_the_cores=True),
         {"status": "passed", "limit": "96", "used": "48"}),
        (shell("echo f 96 49", pattern=r"(?P<limit>\d+) (?P<used>\d+)", twice_the_cores=True),
         failed("47 cores are free")),
    ],
)  # fmt: skip
def test_what_a_key_of_a_command_does(command: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Commands("emulators", {"env": "e.1", "cores": "24", "hash": "id-00109efc"}).perform(command) == expected


def test_what_a_command_prints_is_known_to_the_next_one() -> None:
    commands = Commands("emulators", {})
    commands.perform(shell("echo run-1", pattern="(?P<run>.+)"))
    assert commands.perform(shell("echo {run}"))["seen"] == "run-1"


def test_the_product_gets_address_and_tokens_and_nothing_before_they_are_known() -> None:
    commands = Commands("emulators", {"url": "https://app", "audience": "a"})
    command = shell('echo "$DROPTUNE_URL $DROPTUNE_AUDIENCE"; printenv SCORING_TOKEN || echo none')
    assert commands.perform(command)["seen"] == "https://app api://a\nnone"


@pytest.mark.parametrize("line", [
    ["-m", "cli", "watch", "--project", "smoke-0a1b2c"], ["-Im", "azure.cli", "ml", "-g", "rg-smoke-0a1b2c"],
    ["azd", "up", "--environment", "smoke-0a1b2c"],
])  # fmt: skip
def test_a_command_that_outlived_a_killed_smoke_test_is_found_and_ended(line: list[str]) -> None:
    removal = {one["name"]: one for one in TABLE["step"][-1]["command"]}
    check, end = removal["no process"], removal["commands that outlived a killed smoke test"]
    commands = Commands("emulators", {"env": "smoke-0a1b2c", "folder": "/folder/smoke-0a1b2c"})
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    # Its report, and that of another one, may be looked at.
    others = [subprocess.Popen([*sleeps, *them]) for them in (["smoke-0a1b2c.json"], [*line[:-1], "smoke-0a1b2d"])]
    process = subprocess.Popen([*sleeps, *line])
    try:
        assert commands.perform(check)["status"] == "failed"
        assert commands.perform(end)["status"] == "passed"
        assert process.wait(60) == -signal.SIGTERM
        assert commands.perform(check) == {"status": "passed"}
        assert commands.perform(end)["status"] == "passed"
        assert [other.poll() for other in others] == [None, None]
    finally:
        for one in (process, *others):
            one.kill()
            one.wait()


@pytest.mark.parametrize(("platform", "codes", "status"), [
    ("azure", [7], "passed"), ("azure", [1, 2], "failed"), ("azure", None, "passed"), ("emulators", None, "failed"),
])  # fmt: skip
def test_a_command_is_tried_again_in_azure_after_the_codes_that_say_so(
    platform: str, codes: list[int] | None, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_EVERY_S", 0.01)
    script = f"test -e {tmp_path}/second || {{ touch {tmp_path}/second; exit 7; }}"
    retry = {"retry": 5, **({"retry_codes": codes} if codes else {})}
    # Not by `shell`: a braced word of the script would be a name.
    (tmp_path / "script").write_text(script)
    command = {"name": "again", "run": ["sh", str(tmp_path / "script")], **retry}
    assert Commands(platform, {}).perform(command)["status"] == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("of 11111111-0000-0000-0000-00000000ABCD", "of id-00109efc"),
        ("/subscriptions/11111111-0000-0000-0000-00000000abcd/x", "/subscriptions/id-00109efc/x"),
        ("me@example.org and a.b+c@sub.example.org", "*** and ***"),
        ("me_example.org#EXT#@tenant.onmicrosoft.com", "***"),
        ("Bearer eyJhbGciOi.eyJhdWQi.c2ln-_", "Bearer ***"),
        ("https://a.blob/x?sv=1&sig=ab%2Bc%3D&se=2", "https://a.blob/x?sv=1&sig=***&se=2"),
        (f"{ROOT}/.droptune/smoke-1", ".droptune/smoke-1"),
        ("smoke-0ece03, run-0f2cbb27933d, mlw-abcdefghijklm", "smoke-0ece03, run-0f2cbb27933d, mlw-abcdefghijklm"),
    ],
)
def test_a_report_has_no_ids_addresses_or_tokens(text: str, expected: str) -> None:
    assert masked(text) == expected
