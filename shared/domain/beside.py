"""Tables and words that stand in a TOML file beside the module that reads them."""

import tomllib
from pathlib import Path
from typing import Any


def read_beside(module: str, name: str = "") -> dict[str, Any]:
    """`module`: its `__file__`. `name`: of the file, which else is called as the module is."""
    file = Path(module).with_name(name) if name else Path(module).with_suffix(".toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))
