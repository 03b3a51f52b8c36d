"""Arguments and options that several commands share."""

import json
from typing import Annotated, Any

import typer

Url = Annotated[
    str | None, typer.Option("--url", help="URL of the API; else DROPTUNE_URL, else that of ./.droptune/stack.json")
]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="run id")]
Comment = Annotated[str, typer.Option("-m", "--comment", help="why; kept with the run")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
