"""Regular expressions that are made of parts, as TOML files hold them."""

import re
from typing import Any

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
