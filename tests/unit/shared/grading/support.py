"""A grader that is a program."""

from __future__ import annotations


def python(source: str) -> dict[str, str]:
    return {"type": "python", "source": source}
