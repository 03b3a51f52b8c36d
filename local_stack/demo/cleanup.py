"""A demo that does not succeed leaves no server running, however it ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local_stack import stack
from local_stack.paths import REPOSITORY

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Reads until the demo's end of the pipe closes, also by `kill -9`. A word on it says that nothing is left to do.
_GUARD = """
import os, sys
if not sys.stdin.buffer.read():
    os.execv(sys.executable, [sys.executable, "-m", "local_stack.stack", "down", "--root", sys.argv[1]])
"""


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
    """Stop the stack in `root` if the block raises, or if this process is killed inside it."""
    command = [sys.executable, "-c", _GUARD, str(root.resolve())]
    quiet = subprocess.DEVNULL
    # In a session of its own: Ctrl-C reaches every process of the terminal's group.
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    ) as guard:
        try:
            yield
        except BaseException:
            for number in (*_ENDING, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
            stack.down(root)
            raise
        finally:
            guard.communicate(b"done")
