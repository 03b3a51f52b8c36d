"""Keys inside a row, below its own fields, that nothing reads: named with their path, or refused if answers need them.

A path has no numbers, so that a key is one finding for a file: `messages[].timestamp`, `input.parallel_tool_calls`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from shared.validation.fields import code_of_inner
from shared.validation.names import OTHER_NAMES, shown

Unread = tuple[str, str, Any]  # place, key and value
_NUMBERS = re.compile(r"\[\d+\]")


def path_of(place: str, key: str) -> str:
    """`messages[2]` and `mood` are `messages[].mood`; a key that may be text of a row is not shown."""
    name = shown(key)
    return f"{_NUMBERS.sub('[]', place)}.{name}" if name != OTHER_NAMES else OTHER_NAMES


def report_unread(found: Iterable[Unread], messages: Sequence[dict[str, Any]], codes: set[str]) -> None:
    """`messages`: what is learned."""
    for place, key, value in found:
        if code := code_of_inner(key, value, messages):
            codes.add(f"{code}|{path_of(place, key)}")
