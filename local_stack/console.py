"""Lines that tell a person what is going on."""

import sys


class Console:
    """Prints lines. On a terminal the next line replaces a passing one; elsewhere a passing one is left out."""

    def __init__(self) -> None:
        self._overwrites = sys.stdout.isatty()

    def print(self, text: str) -> None:
        print(self._clear() + text, flush=True)

    def passing(self, text: str) -> None:
        if self._overwrites:
            print(self._clear() + text, end="", flush=True)

    def _clear(self) -> str:
        return "\r\x1b[2K" if self._overwrites else ""
