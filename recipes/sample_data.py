"""What the generators of the ready recipes have in common: their words, and the form of a row."""

import tomllib
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def words_beside(generator: str) -> dict[str, Any]:
    """What `words.toml` beside a generator holds."""
    return tomllib.loads(Path(generator).with_name("words.toml").read_text(encoding="utf-8"))


def chat(answer: str, question: str, system: str = "") -> list[dict[str, str]]:
    """The messages of a row."""
    turns = [("system", system), ("user", question), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in turns if content]
