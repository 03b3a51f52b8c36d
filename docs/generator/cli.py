"""`cli.md`: the commands of `droptune` and the exit codes."""

from collections.abc import Iterator
from typing import Any

import typer.main

from cli.common import EXIT_BY_STATUS, Exit
from cli.main import app
from docs.generator import markdown
from training_job.job import runtime

OWN = {
    Exit.OK: "done; for `watch` and `drop --watch`: the run ended `deployed`",
    Exit.REFUSED: "the API answered with an error, or the input cannot be used",
    Exit.UNREACHABLE: "nothing answers at the URL; also a wrong option",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}


def page() -> str:
    return markdown.page(
        "cli.md",
        commands=_commands(typer.main.get_command(app)),
        named=_named,
        shown=_shown,
        exits=Exit,
        own=OWN,
        ended={code: status for status, code in EXIT_BY_STATUS.items()},
        job=runtime,
    )


def _commands(command: Any, path: str = "droptune") -> Iterator[tuple[str, Any]]:
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _named(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _shown(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return markdown.code(_named(parameter))
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in parameter.opts)
