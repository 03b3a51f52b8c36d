"""A job's command line, declared once: the fields of a dataclass are its options.

job_name: Annotated[str, "help of --job-name"]
champion: Annotated[Path | None, "help of --champion"] = None
"""

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def parse_arguments(task: type[T], program: str, documentation: str | None, argv: list[str] | None) -> T:
    """The command line as a `task`, a dataclass whose fields are `str` or `Path`, or None where they have a default.

    `program`: the module's name; its `documentation` begins with a line that describes it.
    """
    parser = argparse.ArgumentParser(prog=program, description=(documentation or "").splitlines()[0])
    annotations = get_type_hints(task, include_extras=True)
    for each in fields(task):
        kind, text = get_args(annotations[each.name])
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=Path if Path in (kind, *get_args(kind)) else str,
            required=each.default is MISSING,
            help=text,
        )
    return task(**vars(parser.parse_args(argv)))
