"""Several threads at the same thing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(n)` in `count` threads at once and raise what any of them raised."""
    start = threading.Barrier(count)
    errors: list[BaseException] = []

    def body(n: int) -> None:
        try:
            start.wait()
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def until_in(thread: threading.Thread, function: str) -> None:
    """Return once `thread` is inside a function of that name."""
    deadline = time.monotonic() + 60
    while function not in _functions(thread):
        assert thread.is_alive(), f"it ended and was not seen in {function}"
        assert time.monotonic() < deadline, f"it did not come to {function}"
        time.sleep(0.01)


def _functions(thread: threading.Thread) -> list[str]:
    names, frame = list[str](), sys._current_frames().get(thread.ident or 0)
    while frame:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names
