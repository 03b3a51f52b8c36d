"""Processes that outlive the one that started them: how to recognize and end them."""

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]


STOP_WITHIN_S = 8.0
# Every process of a stack inherits this, jobs and deployments too: `down` finds those whose parent is gone.
MARK = "DROPTUNE_STACK_ROOT"


@dataclass(slots=True)
class StackProcess:
    """A process of the stack. `pid` is None when stopped; `port` is kept for the next start."""

    port: int
    pid: int | None = None
    started_at: float = 0.0

    def process(self) -> psutil.Process | None:
        """The running process; None if it ended, also when its pid now belongs to another one."""
        if self.pid is None:
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
        except psutil.Error:
            return None
        return process if same and is_running(process) else None


def is_running(process: psutil.Process) -> bool:
    """Whether it still runs; one that waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def marked(root: Path) -> list[psutil.Process]:
    """Processes of the stack in `root` by their environment, also those that a job started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(root) and is_running(process):
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return found


def stop(processes: Iterable[psutil.Process | None], within_s: float = STOP_WITHIN_S) -> None:
    """SIGTERM, then SIGKILL for those that still run after `within_s`.

    psutil refuses to signal a pid that was given to another process meanwhile.
    """
    left = list(filter(None, processes))
    for name in ("terminate", "kill"):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                getattr(process, name)()
        until = time.monotonic() + within_s
        while time.monotonic() < until and any(map(is_running, left)):
            time.sleep(0.02)
        left = list(filter(is_running, left))


def free_port(preferred: int | None) -> int:
    """The preferred port of 127.0.0.1 if nothing listens there, else any free one."""
    for port in (preferred or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
