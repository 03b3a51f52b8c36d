"""The time of the last look of `reconcile`, and the pauses between two looks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.ports import Services
from shared.records import ticks

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_the_last_tick_is_none_at_first_and_then_the_newest(services: Services) -> None:
    now = services.clock.now()
    assert ticks.read(services.store, now) == ticks.Ticks()
    for later in (0, 5):
        ticks.record(services.store, now + timedelta(seconds=later), ())
    assert ticks.read(services.store, now + MINUTE) == ticks.Ticks(now + timedelta(seconds=5))


@pytest.mark.parametrize("way", [10 * MINUTE, -HOUR], ids=["regular", "the clock was set back"])
def test_a_tick_that_is_not_late_ends_no_pause(services: Services, way: timedelta) -> None:
    now = services.clock.now()
    ticks.record(services.store, now, ())
    assert ticks.read(services.store, now + way).pauses == ()


def test_the_newest_pauses_are_kept(services: Services) -> None:
    now = services.clock.now()
    for number in range(ticks.MAX_PAUSES + 3):
        at = now + number * HOUR
        ticks.record(services.store, at, ticks.read(services.store, at).pauses)
    pauses = ticks.read(services.store, at + MINUTE).pauses
    assert len(pauses) == ticks.MAX_PAUSES
    assert pauses[-1] == (at - HOUR, at)
