"""What several commands share: arguments, options, exit codes, tables that wrap text, cut nothing and keep ids
whole."""

import json
from collections.abc import Collection
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from shared.domain.run import Status


class Exit(IntEnum):
    """0 to 2: of the command itself; 10 and up: how the run that `watch` followed ended. None gets a new meaning."""

    OK = 0
    REFUSED = 1  # the API answered with an error, or the input cannot be used
    UNREACHABLE = 2  # nothing answers at the URL; also the code of a wrong option
    REJECTED = 10
    DECLINED = 11
    FAILED = 12
    CANCELLED = 13
    ROLLED_BACK = 14
    DUPLICATE = 15
    INTERRUPTED = 130


class InputError(Exception):
    """A file or option cannot be used; the message says where and what to do. The command ends with `REFUSED`."""


EXIT_BY_STATUS = {Status[one.name]: one for one in Exit if one >= Exit.REJECTED and one is not Exit.INTERRUPTED}
EXIT_BY_STATUS[Status.DEPLOYED] = Exit.OK

EXIT_HELP = (
    "Exit codes: 0 deployed, 10 rejected (the data), 11 declined (the gate or a person), 12 failed, 13 cancelled, "
    "14 rolled back, 15 duplicate, 1 the API refused, 2 not reachable or wrong usage, 130 interrupted."
)

Url = Annotated[
    str | None, typer.Option("--url", help="URL of the API; else DROPTUNE_URL, else that of ./.droptune/stack.json")
]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="run id")]
Comment = Annotated[str, typer.Option("-m", "--comment", help="why; kept with the run")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def make_table(*columns: str, whole: Collection[str] = (), right: Collection[str] = ()) -> Table:
    """A table with a heading. The columns in `whole` never wrap; those in `right` are aligned to the right. Rich's own
    default replaces the end of a long word by an ellipsis, and an id without its end names nothing."""
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
