from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from cli.display import make_console, show
from cli.follow import Update
from cli.view import runs_table, slice_table
from shared.domain.run import Attention, Status
from tests.unit.cli.fake_api import RESULT, START, FakeDroptune, make_run

TRAINING = make_run(Status.RECEIVED, Status.VALIDATED, Status.TRAINING)


def test_a_terminal_gets_the_live_picture() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    run = show(console, [Update(TRAINING), Update(make_run(Status.RECEIVED, Status.REJECTED))])
    assert run.status == Status.REJECTED
    assert isinstance(console.file, io.StringIO)
    assert "✘" in console.file.getvalue()


@pytest.mark.parametrize("text", ["[/bold]", "[bold]", "[red]x", "[[", "\\["])
def test_what_files_and_rows_are_called_is_no_markup(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Rich would leave it out, or raise an error in the middle of a list."""
    run = TRAINING.model_copy(
        update={"dataset": TRAINING.dataset.model_copy(update={"path": f"datasets/shop/{text.replace('/', '')}.jsonl"})}
    )
    [part] = RESULT.slices
    console = make_console()
    console.print(runs_table([run]))
    console.print(slice_table(RESULT.model_copy(update={"slices": (part.model_copy(update={"value": text}),)})))
    runs, slices = capsys.readouterr().out.split("slice", 1)
    assert f"{text.replace('/', '')}.jsonl" in runs
    assert f"family = {text}" in slices


Cli = Callable[..., int]


Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", ["runs", "endpoints"])
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_list_names_what_it_leaves_out_why_and_what_to_do(
    fake: FakeDroptune, droptune: Cli, capsys: Capture, command: str, as_json: bool
) -> None:
    fake.unreadable = [{"type": "run", "partition": "run-7", "id": "run", "problem": "KeyError: [red]"}]
    assert droptune(command, *(["--json"] if as_json else [])) == 0
    shown = capsys.readouterr()
    assert shown.out == ("[]\n" if as_json else "")
    assert shown.err == "left out: run of run-7: KeyError: [red]; repair it with: droptune dlq release run-7 --id run\n"


def test_what_a_timer_fails_at_is_one_line_when_it_begins_and_one_when_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attention = (Attention(timer="reconcile", problem="down: [503]", since=START),)
    failing = TRAINING.model_copy(update={"attention": attention})
    ended = make_run(Status.RECEIVED, Status.REJECTED)
    show(make_console(), [Update(TRAINING), Update(failing), Update(failing), Update(TRAINING), Update(ended)])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "reconcile" in line or "any more" in line]
    since = f"{START.astimezone():%Y-%m-%d %H:%M}"
    assert lines == [
        f"reconcile fails with this run at each tick since {since}: down: [503]",
        "no timer fails with this run any more",
    ]
    console = Console(file=io.StringIO(), width=200, force_terminal=True, markup=False)
    show(console, [Update(failing), Update(ended)])
    assert isinstance(console.file, io.StringIO)
    assert f"since {since}: down: [503]" in console.file.getvalue()
