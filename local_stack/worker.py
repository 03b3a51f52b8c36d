"""What runs beside the main thread until it is asked to stop."""

import logging
import threading
import time
from abc import ABC, abstractmethod

logger = logging.getLogger(__name__)

AGAIN_AFTER_S = 1.0


class Worker(ABC):
    """A daemon thread. `_run` ends soon after `_stopping` is set; if it raises, as on a full disk, it is run again."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        while True:
            try:
                return self._run()
            except Exception:
                logger.exception("%s failed and begins again", self._thread.name)
                if self._stopping.wait(AGAIN_AFTER_S):
                    return None

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


def say_ready(port: int) -> None:
    """Print `ready PORT`, as soon as the disk that the output goes to has room for it."""
    try:
        print(f"ready {port}", flush=True)
    except OSError:
        again = threading.Timer(AGAIN_AFTER_S, say_ready, [port])
        again.daemon = True
        again.start()
