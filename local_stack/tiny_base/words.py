"""The words that the domains of the tiny base model are made of."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("words.toml")


def words_of(domain: str) -> dict[str, Any]:
    """Its lists and tables, by name."""
    found: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))[domain]
    return found
