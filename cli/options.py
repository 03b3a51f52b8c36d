"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Url = Annotated[
    str | None, typer.Option("--url", help="URL of the API; else DROPTUNE_URL, else that of ./.droptune/stack.json")
]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="run id")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_one(as_json: bool, value: Any, line: str) -> None:
    """What was done: `value` for scripts, else `line`."""
    if as_json:
        print_json(value)
    else:
        print(line)
