from __future__ import annotations

import io

from rich.console import Console

from cli.display import show
from cli.follow import Update
from shared.domain.run import Status
from tests.unit.cli.fake_api import make_run

TRAINING = make_run(Status.RECEIVED, Status.VALIDATED, Status.TRAINING)


def test_a_terminal_gets_the_live_picture() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    run = show(console, [Update(TRAINING), Update(make_run(Status.RECEIVED, Status.REJECTED))])
    assert run.status == Status.REJECTED
    assert isinstance(console.file, io.StringIO)
    assert "✘" in console.file.getvalue()
