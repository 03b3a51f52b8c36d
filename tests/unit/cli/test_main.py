from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import Exit
from cli.view import HAPPY_PATH
from shared.domain.run import Decision, Status
from tests.unit.cli.fake_api import BROKEN, COST, RESULT, RUN_ID, START, FakeDroptune, life, make_run

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


def test_watch_says_each_change_once_and_ends_with_the_verdict(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states = life(*HAPPY_PATH, evaluation=RESULT, cost=COST)
    assert droptune("watch", RUN_ID) == 0
    output = capsys.readouterr().out
    stages = [line.split()[2] for line in output.splitlines() if line.lstrip().startswith("+")]
    assert stages == list(HAPPY_PATH)
    assert "gain +0.800 [+0.700, +0.900] over base (95 % interval, 120 held-out rows)" in output
    assert "family = hex nut" in output
    assert "hex nut M3" in output, "the sample answer"
    assert "estimated 0.0100 to 0.0200 USD" in output


def test_watch_says_why_a_run_failed(fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    fake.states = life(Status.RECEIVED, Status.FAILED, error=BROKEN)
    assert droptune("watch", RUN_ID) == 12
    assert "quota: no_quota: no cores left (instance_type)" in capsys.readouterr().out


def test_watch_shows_the_numbers_of_a_run_that_waits_and_how_to_decide(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"evaluation": RESULT}
    waiting = make_run(*HAPPY_PATH[:4], Status.AWAITING_APPROVAL, **numbers)
    decision = Decision(granted=False, by="ada", at=START, comment="it is too curt")
    denied = make_run(*HAPPY_PATH[:4], Status.AWAITING_APPROVAL, Status.DECLINED, **numbers, decision=decision)
    fake.states = [*life(*HAPPY_PATH[:4]), waiting, denied]
    assert droptune("watch", RUN_ID) == 11
    output = capsys.readouterr().out
    before, after = output.split("the run waits for a decision; without one it is declined at 20")
    assert "awaiting_approval" in before
    assert "0.850 to 0.950" in before
    assert "gain +0.800 [+0.700, +0.900] over base" in before
    assert f"droptune approve {RUN_ID}    or    droptune deny {RUN_ID} -m WHY" in after
    assert output.count("the run waits for a decision") == 1
    assert "denied by ada: it is too curt" in after


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


def test_report_shows_each_problem_with_its_fix(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert droptune("report", RUN_ID) == 0
    output = capsys.readouterr().out
    for part in (
        "rejected",
        "empty_answer",
        "2 messages[1].content",
        "5 ...",
        "for: names of persons",
        "fill the answers or delete the rows",
    ):
        assert part in output
    assert droptune("report", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out)["problems"][0]["count"] == 3


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
