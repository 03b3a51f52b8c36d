"""Pieces of Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence


def page(title: str, source: str, *parts: str) -> str:
    """A page with a title, the note that it is generated, and its parts."""
    note = f"Generated from {source}. Do not edit this page: change the code and run `make docs`."
    return "\n\n".join(wrapped(part.strip("\n")) for part in (f"# {title}", note, *parts)) + "\n"


def wrapped(part: str) -> str:
    """A paragraph in lines of at most 120 characters; headings, tables and code as they are."""
    if part.startswith(("#", "|", "```")):
        return part
    return textwrap.fill(" ".join(part.split()), 120, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; `|` and line breaks in cells are escaped."""
    lines = [_row(head), "|" + "---|" * len(head), *(_row([_cell(cell) for cell in row]) for row in rows)]
    return "\n".join(lines)


def code(text: object) -> str:
    """`text`, or nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


def listed(items: Iterable[object]) -> str:
    """`a`, `b`"""
    return ", ".join(code(item) for item in items)


def first_line(docstring: str | None) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
