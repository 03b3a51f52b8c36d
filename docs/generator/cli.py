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
    commands = [part for path, command in _commands(typer.main.get_command(app)) for part in _command(path, command)]
    return markdown.page(
        "cli.md",
        commands="\n\n".join(commands),
        exit_codes=[(str(int(code)), _meaning(code)) for code in Exit],
        job_exit_codes=_jobs(),
    )


def _commands(command: Any, path: str = "droptune") -> Iterator[tuple[str, Any]]:
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _command(path: str, command: Any) -> Iterator[str]:
    parameters = [p for p in command.params if p.name != "help"]
    arguments = " ".join(_argument(p) for p in parameters if p.param_type_name == "argument")
    yield f"## {path}"
    yield f"```text\n{' '.join(filter(None, (path, arguments, '[options]')))}\n```"
    yield from (command.help or "").split("\n\n")
    rows = [(_names(p), _required(p), p.help or "") for p in parameters]
    if rows:
        yield markdown.table(("argument or option", "", "meaning"), rows)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return str(name if parameter.required else f"[{name}]")


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return markdown.code(parameter.metavar or parameter.name.upper())
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in parameter.opts)


def _required(parameter: Any) -> str:
    return "required" if parameter.required else ""


def _meaning(code: Exit) -> str:
    return OWN.get(code) or f"the run that was watched ended `{_status(code)}`"


def _status(code: Exit) -> str:
    return next(status.value for status, found in EXIT_BY_STATUS.items() if found == code)


def _jobs() -> list[tuple[str, str]]:
    return [
        (str(runtime.COMPLETED), "completed"),
        ("2", "wrong command line"),
        *((str(code), f"failed, class `{name.value}`") for name, code in runtime.EXIT_CODES.items()),
        ("130, 143", "interrupted by SIGINT, SIGTERM"),
    ]
