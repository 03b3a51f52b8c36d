"""The functions host with a switch: it kills itself (`kill -9`) at each place where the runner writes or publishes.

    python -m tests.stack.crashing_host PLACES.txt HOST-OPTIONS...

A place is a function, the event it handles, a line of `shared/runner.py`, the call of a port which that line led to and
where that is, and whether the host dies before or after the call is done. Reading changes nothing: to die before or
after it is to die between two writes. The host dies once at each place, writes the place down first, and is started
again at once by this process, which has everything imported, so that a life costs no start-up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from local_stack import host
from local_stack.functions_host.loading import load_app
from shared import pipeline, runner, services
from shared.ports import Services
from shared.settings import Settings
from tests.simulation import world

READS = ("get", "query", "list_partition", "info", "read", "list", "peek", "depth")
# A second is the wait for what a dead host held, and no message is given up for dying hosts.
LOCK_S, MAX_DELIVERIES = 1.0, 10_000


class Switch:
    """An `io` of `Port`."""

    def __init__(self, places: Path) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._crashed_at = set(places.read_text().splitlines())

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        place = None if name.split(".")[1] in READS else _place(sys._getframe(), name)
        if place is None:
            return call()
        self._crash_once(f"before {place}")
        result = call()
        self._crash_once(f"after {place}")
        return result

    def _crash_once(self, place: str) -> None:
        with self._lock:
            if place in self._crashed_at:
                return
            with self._places.open("a") as file:
                file.write(place + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _place(frame: FrameType | None, name: str) -> str | None:
    """Where in the runner we are, and for which function and event; None outside of the runner."""
    line: str | None = None
    while frame is not None:
        code = frame.f_code
        if code.co_filename in (__file__, world.__file__):
            frame = frame.f_back
            continue
        name = name if "@" in name else f"{name}@{Path(code.co_filename).stem}:{frame.f_lineno}"
        if code.co_filename == runner.__file__:
            line = line or f"{code.co_name}:{frame.f_lineno}"
            if "stage" in frame.f_locals and "event" in frame.f_locals:
                return f"{frame.f_locals['stage'].name} {frame.f_locals['event'].short_type()} {line} {name}"
        elif line is not None:  # `create`, `state`, `publish_all_unsent`: called by the function itself
            return f"{code.co_name} - {line} {name}"
        frame = frame.f_back
    return None


def install(places: Path) -> None:
    build, switch = services.build_services, Switch(places)

    def wrapped(settings: Settings) -> Services:
        built = build(settings)
        names = ("store", "bus", "blobs", "launcher", "models", "notifier")
        wrapped: Any = {name: world.Port(name, getattr(built, name), switch) for name in names}
        return replace(built, **wrapped)

    services.build_services = wrapped
    pipeline.TOPOLOGY = replace(pipeline.TOPOLOGY, max_delivery_count=MAX_DELIVERIES)
    address = os.environ["EVENT_BUS_URL"].partition("?")[0]
    os.environ["EVENT_BUS_URL"] = f"{address}?lock_s={LOCK_S}"


def main() -> int:
    places, options = Path(sys.argv[1]), sys.argv[2:]
    places.touch()
    load_app("function_app")
    while True:
        child = os.fork()
        if child == 0:
            install(places)
            os._exit(host.main(options))
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
