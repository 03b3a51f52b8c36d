"""What runs beside the main thread until it is asked to stop."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod


class Worker(ABC):
    """A daemon thread. `_run` ends soon after `_stopping` is set."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _run(self) -> None:
        """The thread's work."""

    def start(self) -> None:
        self._thread.start()

    def request_stop(self) -> None:
        """Returns at once; what is running continues."""
        self._stopping.set()

    def wait_until_idle(self, deadline: float) -> bool:
        """Wait for what is running until `deadline` (monotonic); False if it still runs."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def stop(self) -> None:
        self.request_stop()
        self._thread.join()
