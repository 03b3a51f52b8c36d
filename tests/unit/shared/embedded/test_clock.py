"""Times as the embedded stores keep them."""

from __future__ import annotations

from datetime import timedelta

from shared.embedded.clock import SystemClock, from_microseconds, to_microseconds


def test_microseconds_keep_a_moment_exactly() -> None:
    now = SystemClock().now()
    assert from_microseconds(to_microseconds(now)) == now
    assert now.utcoffset() == timedelta(0)
