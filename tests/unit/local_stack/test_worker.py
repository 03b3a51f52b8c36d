from __future__ import annotations

import threading

import pytest

from local_stack import worker
from local_stack.worker import Worker


class FailsOnce(Worker):
    def __init__(self) -> None:
        super().__init__("fails-once")
        self.begun = 0
        self.works = threading.Event()

    def _run(self) -> None:
        self.begun += 1
        if self.begun == 1:
            raise OSError(28, "No space left on device")
        self.works.set()
        self._stopping.wait()


def test_a_worker_that_fails_says_so_and_begins_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "AGAIN_AFTER_S", 0.01)
    one = FailsOnce()
    one.start()
    assert one.works.wait(60)
    one.stop()
    assert one.begun == 2
    assert "fails-once failed and begins again" in caplog.text
    assert "No space left on device" in caplog.text


def test_a_worker_that_fails_still_stops() -> None:
    one = FailsOnce()
    one.request_stop()
    one.start()
    one.stop()
    assert one.begun == 1
