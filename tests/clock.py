"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

# What a person, NTP after a long sleep or a restored machine does to a clock.
JUMPS = [-200 * 24 * 3600, -3600, 3600, 200 * 24 * 3600]


class ManualClock:
    """Time for tests; safe to advance while other threads read it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
