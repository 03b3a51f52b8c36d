"""A demo that does not succeed leaves no server running; after `kill -9`, `make down` stops what is left."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local_stack import stack

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoInterrupted(BaseException):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as a shell reports it


def raise_on_signals() -> None:
    """Make Ctrl-C, `kill` and a closed terminal raise Interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise DemoInterrupted(number)

    for number in _ENDING:
        signal.signal(number, interrupt)


@contextmanager
def stopped_unless_done(root: Path) -> Iterator[None]:
    """Stop the stack in `root` if the block raises."""
    try:
        yield
    except BaseException:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        stack.down(root)
        raise
