"""Show updates of a run: live on a terminal, one line per change elsewhere, or as JSON lines."""

import json
import sys
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from cli.common import print_json
from cli.follow import Update
from cli.view import attention_lines, decision_view, live, progress_text, seconds, stage_detail
from shared.domain.errors import UnreadableDocument
from shared.domain.run import Run, Status

PROGRESS_EVERY_S = 10.0


def make_console() -> Console:
    """As wide as the terminal, or 160. What is printed comes from files and people: a `[` is no markup."""
    return Console(markup=False) if sys.stdout.isatty() else Console(width=160, markup=False)


def show(console: Console, updates: Iterable[Update]) -> Run:
    """Show every update and return the run as it ended."""
    if not console.is_terminal:
        return _show_plain(console, updates)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as screen:
        for last in updates:  # at least one: `follow` begins with the run as it is
            screen.update(live(last), refresh=True)
    return last.run


def _show_plain(console: Console, updates: Iterable[Update]) -> Run:
    shown, printed_at, reachable, step, attention = 0, 0.0, True, -1, list[str]()
    for last in updates:
        for index in range(shown, len(last.run.history)):
            _plain(console, _history_line(last.run, index))
        if len(last.run.history) > shown and last.run.status == Status.AWAITING_APPROVAL:
            console.print(decision_view(last.run), soft_wrap=True)
        if len(last.run.history) > shown:
            shown, printed_at = len(last.run.history), time.monotonic()
        elif last.progress and last.progress.step != step and time.monotonic() - printed_at >= PROGRESS_EVERY_S:
            printed_at, step = time.monotonic(), last.progress.step
            loss = f"  loss {last.loss[-1][1]:.3f}" if last.loss else ""
            _plain(console, f"{'':>10}  {progress_text(last.progress)}{loss}")
        if (lines := attention_lines(last.run)) != attention:
            for line in (attention := lines) or ["no timer fails with this run any more"]:
                _plain(console, f"{'':>10}  {line}")
        if reachable and not last.reachable:
            _plain(console, f"{'':>10}  the API does not answer; trying again...")
        reachable = last.reachable
    return last.run


def _history_line(run: Run, index: int) -> str:
    """`  +12.4 s  evaluating        after 11.2 s of training: 24 steps, 9,120 tokens processed`."""
    line = run.history[index]
    since = seconds((line.at - run.created_at).total_seconds())
    text = line.note
    if index > 0 and not text:
        before = run.history[index - 1]
        text = f"after {seconds((line.at - before.at).total_seconds())} of {before.status}"
        if detail := stage_detail(run, before.status):
            text += f": {detail}"
    return f"{'+' + since:>10}  {line.status:<17} {text}".rstrip()


def _plain(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_json(updates: Iterable[Update]) -> Run:
    """One JSON object per line: `{"run": ..., "progress": ..., "loss": ...}`, only when something changed."""
    before = ""
    for last in updates:
        line = json.dumps(
            {
                "run": last.run.model_dump(mode="json"),
                "progress": last.progress.model_dump() if last.progress else None,
                "loss": last.loss[-1][1] if last.loss else None,
            }
        )
        if line != before:
            print(line, flush=True)
        before = line
    return last.run


def report_unreadable(documents: Iterable[UnreadableDocument]) -> None:
    """Name on stderr what a list leaves out, why, and what to do."""
    for one in documents:
        remedy = f"droptune dlq release {one.partition} --id {one.id}"
        print(f"left out: {one.type} of {one.partition}: {one.problem}; repair it with: {remedy}", file=sys.stderr)


def utf8_output() -> None:
    """Keep a terminal or log of another encoding from ending the command, and let each line be seen at once."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace", line_buffering=True)


def print_one(as_json: bool, value: Any, shown: RenderableType) -> None:
    """What was done or found: `value` for scripts, else `shown`, a line or a table."""
    if as_json:
        print_json(value)
    elif isinstance(shown, str):
        print(shown)
    else:
        make_console().print(shown)
