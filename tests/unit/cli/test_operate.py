from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cli.common import Exit
from tests.unit.cli.fake_api import FakeDroptune

GOOD = {"name": "event bus", "status": "ok", "detail": "all can be peeked at", "fix": ""}
BAD = {"name": "blobs", "status": "fix", "detail": "denied [403]", "fix": "grant a role"}
PASSED_OVER = {"name": "quota", "status": "skipped", "detail": "not read", "fix": "", "field_of_a_newer_server": 1}


def test_nothing_to_fix_is_exit_code_0(
    fake: FakeDroptune, droptune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.checks = [GOOD, PASSED_OVER]
    assert droptune("doctor") == Exit.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["ok", "skipped"]


def test_something_to_fix_is_exit_code_1_and_says_what_to_do(
    fake: FakeDroptune, droptune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.checks = [GOOD, BAD]
    assert droptune("doctor") == Exit.REFUSED.value == 1
    printed = capsys.readouterr().out
    assert "denied [403]" in printed
    assert "fix: grant a role" in printed


def test_scripts_get_the_checks_as_they_are(
    fake: FakeDroptune, droptune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.checks = [BAD]
    assert droptune("doctor", "--json") == 1
    assert json.loads(capsys.readouterr().out) == [BAD]


def test_settings_that_cannot_be_read_are_a_line_too(
    fake: FakeDroptune, droptune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.refusal = (400, "bad_settings")
    assert droptune("doctor") == 1
    assert capsys.readouterr().out.split()[:2] == ["fix", "settings"]


def test_another_refusal_is_said_as_it_is(
    fake: FakeDroptune, droptune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.refusal = (403, "role_needed")
    assert droptune("doctor") == 1
    assert "role_needed" in capsys.readouterr().err
