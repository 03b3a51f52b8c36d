"""approve, deny, retry: what is sent, what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.unit.cli.fake_api import RUN_ID, FakeDroptune

Cli = Callable[..., int]


Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_a_decision_is_sent_with_its_comment(fake: FakeDroptune, droptune: Cli, capsys: Capture, command: str) -> None:
    assert droptune(command, RUN_ID, "-m", "seen by [me]") == 0
    assert fake.commands == [(f"{command} {RUN_ID}", {"comment": "seen by [me]"})]
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert RUN_ID in output
    assert droptune(command, RUN_ID, "--json") == 0
    approved, denied = {"decision": "approved", "missing": 0}, {"decision": "denied"}
    printed = json.loads(capsys.readouterr().out)
    assert printed == ({"id": RUN_ID, **approved} if command == "approve" else {"id": RUN_ID, **denied})
    assert fake.commands[1] == (f"{command} {RUN_ID}", {"comment": ""})


def test_a_retry_says_the_new_run(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("retry", RUN_ID) == 0
    assert capsys.readouterr().out == "started run r-2; follow it with: droptune watch r-2\n"
    assert droptune("retry", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"id": "r-2", "parent_run": RUN_ID}
    assert fake.commands == [(f"retry {RUN_ID}", None)] * 2
