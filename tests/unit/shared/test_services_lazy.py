"""Several first callers at once."""

from __future__ import annotations

import threading
import time

from shared.services import lazy


def test_callers_that_come_together_get_the_one_that_was_built() -> None:
    built: list[object] = []

    @lazy
    def make() -> object:
        time.sleep(0.05)
        built.append(object())
        return built[-1]

    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(make())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [built[0]] * 8
    make.cache_clear()
    assert make() is not built[0]
