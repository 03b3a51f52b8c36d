from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.common import Exit
from cli.view import HAPPY_PATH
from shared.domain.run import Status
from tests.unit.cli.fake_api import RESULT, RUN_ID, FakeDroptune, life, make_run

Cli = Callable[..., int]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (HAPPY_PATH, 0),
        ((Status.RECEIVED, Status.REJECTED), 10),
        ((*HAPPY_PATH[:4], Status.DECLINED), 11),
        ((*HAPPY_PATH[:3], Status.FAILED), 12),
        ((*HAPPY_PATH[:3], Status.CANCELLING, Status.CANCELLED), 13),
        ((*HAPPY_PATH[:6], Status.ROLLING_BACK, Status.ROLLED_BACK), 14),
        ((Status.DUPLICATE,), 15),
    ],
)
def test_watch_tells_by_its_exit_code_how_the_run_ended(
    fake: FakeDroptune, droptune: Cli, statuses: tuple[Status, ...], code: int
) -> None:
    fake.states = life(*statuses)
    assert droptune("watch", RUN_ID) == code


def test_watch_json_prints_one_object_per_change(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states = life(*HAPPY_PATH[:3], Status.FAILED)
    assert droptune("watch", "--project", "plant", "--json") == 12
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["run"]["status"] for line in lines] == ["received", "validated", "training", "failed"]
    assert lines[2]["progress"] == {"step": 3, "total_steps": 9, "eta_s": 6.0}
    assert lines[2]["loss"] == 1.0


def test_watch_wants_a_run_or_a_project(fake: FakeDroptune, droptune: Cli) -> None:
    assert droptune("watch") == 2
    assert droptune("watch", RUN_ID, "--project", "plant") == 2


def test_runs_lists_the_runs_of_a_project(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states = [make_run(*HAPPY_PATH, evaluation=RESULT)]
    assert droptune("runs") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:3] == [RUN_ID, "plant", "deployed"]
    assert line.split()[-1] == "+0.800"
    assert droptune("runs", "--project", "another", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert droptune("runs", "--project", "another") == 0
    assert capsys.readouterr().out == "no runs yet\n"


def test_drop_sends_the_very_bytes(fake: FakeDroptune, droptune: Cli, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than one chunk
    file = tmp_path / "eval of today.jsonl"
    file.write_bytes(content)
    assert droptune("drop", str(file), "--project", "plant") == 0
    assert fake.dropped == {"plant/eval of today.jsonl": content}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("Validation.jsonl", "held-out data"),
        ("recipe.yml", "a recipe"),
        ("train.jsonl.part", "by its name it is no data"),
    ],
)
def test_drop_says_what_starts_no_run_and_does_not_wait_for_one(
    fake: FakeDroptune, droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, output: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"{}")
    assert droptune("drop", str(file), "--project", "plant", "--watch") == 0
    assert output in capsys.readouterr().err
    assert list(fake.dropped) == [f"plant/{name}"]


def test_drop_watch_follows_the_run_that_it_started(
    fake: FakeDroptune, droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"{}")
    assert droptune("drop", str(file), "--project", "plant", "--watch") == 10
    assert f"droptune report {RUN_ID}" in capsys.readouterr().out


def test_cancel_asks_for_that_run(fake: FakeDroptune, droptune: Cli) -> None:
    assert droptune("cancel", RUN_ID) == 0
    assert fake.cancelled == [RUN_ID]


def test_an_error_of_the_api_is_one_line(fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert droptune("watch", "r-2") == Exit.REFUSED
    assert capsys.readouterr().err == "run_not_found: no run r-2 (run_id)\n"


def test_a_stack_that_is_not_up_is_one_line(
    droptune: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DROPTUNE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert droptune("runs") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "make up" in error
    with socket.socket() as unused:  # bound, not listening: nothing answers there
        unused.bind(("127.0.0.1", 0))
        assert droptune("runs", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}") == 2


Capture = pytest.CaptureFixture[str]


COMMANDS = (
    ("approve", RUN_ID),
    ("deny", RUN_ID),
    ("retry", RUN_ID),
    ("rollback", "shop"),
    ("dlq", "replay", "job-events"),
    ("dlq", "release", RUN_ID),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_command_is_one_line_and_exit_code_1(
    fake: FakeDroptune, droptune: Cli, capsys: Capture, command: tuple[str, ...]
) -> None:
    fake.refusal = (409, "cannot_be")
    for arguments in (command, (*command, "--json")):
        assert droptune(*arguments) == Exit.REFUSED.value == 1
        output = capsys.readouterr()
        assert (output.out, output.err) == ("", f"cannot_be: so it is ({RUN_ID})\n")


@pytest.mark.parametrize("command", [*COMMANDS, ("endpoints",), ("dlq", "list"), ("dlq", "replay")])
def test_where_nothing_answers_the_exit_code_is_2(droptune: Cli, capsys: Capture, command: tuple[str, ...]) -> None:
    with socket.socket() as unused:  # bound, not listening: nothing answers there
        unused.bind(("127.0.0.1", 0))
        assert droptune(*command, "--url", f"http://127.0.0.1:{unused.getsockname()[1]}") == Exit.UNREACHABLE.value == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["approve", "deny", "retry", "rollback"])
def test_an_order_without_its_object_is_wrong_usage(fake: FakeDroptune, droptune: Cli, command: str) -> None:
    assert droptune(command) == 2
    assert fake.commands == []
