"""The time of the last look of `reconcile`."""

from __future__ import annotations

from datetime import timedelta

from shared.ports import Services
from shared.records import ticks


def test_the_last_tick_is_none_at_first_and_then_the_newest(services: Services) -> None:
    now = services.clock.now()
    assert ticks.previous(services.store) is None
    for later in (0, 5):
        ticks.record(services.store, now + timedelta(seconds=later))
    assert ticks.previous(services.store) == now + timedelta(seconds=5)
