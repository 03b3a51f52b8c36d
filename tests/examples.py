"""How many examples a property test tries."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_SHARE = 1 if os.environ.get("ALL_EXAMPLES") else 5


def examples(number: int, **others: Any) -> settings:
    """All of them with ALL_EXAMPLES, which `make test-all` sets; a fifth without: the rest is for rare combinations."""
    return settings(max_examples=-(-number // _SHARE), **others)


def spread(number: int, cases: int) -> set[int]:
    """The indexes of `number` of the cases, evenly spaced: the first and, of two or more, the last are among them."""
    number = min(number, cases)
    return {round(index * (cases - 1) / max(1, number - 1)) for index in range(number)}
