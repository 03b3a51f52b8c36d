"""Lines that tell a person what is going on."""

from __future__ import annotations

import sys

import pytest

from local_stack.console import Console


@pytest.mark.parametrize(
    ("is_terminal", "written"),
    [(True, "\r\x1b[2Kfirst\n\r\x1b[2Kpassing\r\x1b[2Klast\n"), (False, "first\nlast\n")],
)
def test_a_passing_line_is_replaced_on_a_terminal_and_left_out_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool, written: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    console = Console()
    console.print("first")
    console.passing("passing")
    console.print("last")
    assert capsys.readouterr().out == written
