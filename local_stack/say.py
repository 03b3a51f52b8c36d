"""Lines that tell a person what is going on."""

from __future__ import annotations

import sys
import time

PASSING_EVERY_S = 2.0


class Say:
    """Print lines. A passing one is overwritten by the next on a terminal, and thinned out elsewhere."""

    def __init__(self) -> None:
        self._overwrites = sys.stdout.isatty()
        self._said_at = float("-inf")

    def __call__(self, text: str) -> None:
        print(self._clear() + text, flush=True)

    def passing(self, text: str) -> None:
        if self._overwrites:
            print(self._clear() + text, end="", flush=True)
        elif time.monotonic() - self._said_at >= PASSING_EVERY_S:
            print(text, flush=True)
            self._said_at = time.monotonic()

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._overwrites else ""
