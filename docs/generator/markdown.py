"""Pieces of Markdown."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATES = jinja2.Environment(  # noqa: S701  # Markdown, not HTML
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


def page(name: str, **content: Any) -> str:
    """The page of the template `templates/<name>.jinja`, its paragraphs wrapped."""
    pieces = {"table": table, "row": row, "code": code, "listed": listed, "first_line": first_line}
    rendered = _TEMPLATES.get_template(f"{name}.jinja").render(pieces, **content)
    return "\n\n".join(wrapped(part.strip("\n")) for part in re.split(r"\n{2,}", rendered.strip("\n"))) + "\n"


def wrapped(part: str) -> str:
    """A paragraph in lines of at most 120 characters; headings, tables and code as they are."""
    if part.startswith(("#", "|", "```")):
        return part
    return textwrap.fill(" ".join(part.split()), 120, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([row(*head), "|" + "---|" * len(head), *(row(*cells) for cells in rows)])


def row(*cells: str) -> str:
    """A row of a table; `|` and line breaks in cells are escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def code(text: object) -> str:
    """`text`, or nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


def listed(items: Iterable[object]) -> str:
    """`a`, `b`"""
    return ", ".join(code(item) for item in items)


def first_line(docstring: str | None) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())
