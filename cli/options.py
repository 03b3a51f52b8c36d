"""What several commands share: arguments, options, and tables that cut nothing off: text that does not fit continues in
the next line, and ids stay whole."""

import json
from collections.abc import Collection
from typing import Annotated, Any

import typer
from rich.table import Table

Url = Annotated[
    str | None, typer.Option("--url", help="URL of the API; else DROPTUNE_URL, else that of ./.droptune/stack.json")
]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="run id")]
Comment = Annotated[str, typer.Option("-m", "--comment", help="why; kept with the run")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def make_table(*columns: str, whole: Collection[str] = (), right: Collection[str] = ()) -> Table:
    """A table with a heading. The columns in `whole` never wrap; those in `right` are aligned to the right.

    Rich's own default replaces the end of a long word by an ellipsis, and an id without its end names nothing.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, overflow="fold", no_wrap=column in whole, justify=justify)  # type: ignore[arg-type]
    return table


def make_grid(columns: int, *, whole: Collection[int] = ()) -> Table:
    """A table without a heading; the columns whose index is in `whole` never wrap."""
    table = Table.grid(padding=(0, 2))
    for index in range(columns):
        table.add_column(overflow="fold", no_wrap=index in whole)
    return table
