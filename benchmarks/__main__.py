"""Run the benchmarks and print a table: `python -m benchmarks [NAME ...] [--all] [--json FILE]`."""

import argparse
import json
import logging
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, load, machine

DEFAULT = (
    "transitions",
    "stores",
    "history",
    "latency",
    "service_bus",
    "cold_start",
    "validation",
    "content",
    "names",
    "rendering",
    "stack",
)
SLOW = ("history_host", "training", "validation_large", "large_vocabulary")


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    names = [*options.names] or [*DEFAULT]
    names += [name for name in SLOW if options.all and name not in names]
    logging.basicConfig(level=logging.ERROR)  # the libraries beside ours talk a lot
    # Wide enough for whole rows also where the output is a file or a pipe.
    console = Console(width=None if sys.stdout.isatty() else 150)
    results: dict[str, Any] = {}
    for name in names:
        started, before = time.monotonic(), load()
        rows: list[Figure] = import_module(f"benchmarks.{name}").run()
        took_s = round(time.monotonic() - started, 1)
        console.print(table(f"{name}, {took_s} s, load {before} before and {load()} after", rows))
        results[name] = {
            "took_s": took_s,
            "load_before": before,
            "load_after": load(),
            "rows": [row.document() for row in rows],
        }
        if options.json:  # after each, so that an interrupted run leaves what it measured
            write_results(options.json, results, argv if argv is not None else sys.argv[1:])
    return 0


def table(title: str, rows: list[Figure]) -> Table:
    """The rows for a reader; the ratio is ours divided by the other's."""
    shown = Table(title=title, title_justify="left")
    for column in ("what", "Droptune", "unit", "better", "beside it", "its value", "ratio", "note"):
        shown.add_column(column, justify="right" if column in ("Droptune", "its value", "ratio") else "left")
    for row in rows:
        other, ratio = (f"{value:.4g}" if value is not None else "" for value in (row.baseline_value, row.ratio))
        baseline = row.baseline or "nothing to compare"
        shown.add_row(row.name, f"{row.value:.4g}", row.unit, row.better, baseline, other, ratio, row.note)
    return shown


def write_results(path: Path, results: dict[str, Any], arguments: list[str]) -> None:
    body = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
        "machine": machine(),
        "benchmarks": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Droptune beside what one would use instead."
    )
    every = DEFAULT + SLOW
    parser.add_argument(
        "names", nargs="*", metavar="NAME", type=_name, help=f"{', '.join(every)}; none: all but the last {len(SLOW)}"
    )
    parser.add_argument("--all", action="store_true", help="also those that take minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _name(text: str) -> str:
    if text not in DEFAULT + SLOW:
        raise argparse.ArgumentTypeError(f"there is no benchmark {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
