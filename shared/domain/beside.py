"""Tables, words and patterns that stand in a TOML file beside the module that reads them."""

import re
import tomllib
from pathlib import Path
from typing import Any


def read_beside(module: str, name: str = "") -> dict[str, Any]:
    """`module`: its `__file__`. `name`: of the file, which else is called as the module is."""
    file = Path(module).with_name(name) if name else Path(module).with_suffix(".toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


_PART = re.compile(r"<(\w+)>")


def composed(patterns: dict[str, Any]) -> dict[str, Any]:
    """By name. `<part>` in one stands for the pattern of that name above it; line breaks count for nothing."""
    done: dict[str, Any] = {}

    def compose(value: Any) -> Any:
        if isinstance(value, list):
            return [compose(one) for one in value]
        return _PART.sub(lambda match: done[match[1]], value.replace("\n", ""))

    for name, value in patterns.items():
        done[name] = compose(value)
    return done
