"""The time of the last look of `reconcile`, and the pauses between two looks."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from shared.ports import Services, Write
from shared.records import ticks

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_the_last_tick_is_none_at_first_and_then_the_newest(services: Services) -> None:
    now = services.clock.now()
    assert ticks.read(services.store, now) == ticks.Ticks()
    for later in (0, 5):
        ticks.record(services.store, now + timedelta(seconds=later), ())
    assert ticks.read(services.store, now + MINUTE) == ticks.Ticks(now + timedelta(seconds=5))


@pytest.mark.parametrize("way", [10 * MINUTE, -10 * MINUTE])
def test_a_tick_that_is_not_late_ends_no_pause(services: Services, way: timedelta) -> None:
    now = services.clock.now()
    ticks.record(services.store, now, ())
    assert ticks.read(services.store, now + way).pauses == ()


def test_a_clock_that_was_set_back_is_a_pause_that_ends_before_it_began(services: Services) -> None:
    now = services.clock.now()
    ticks.record(services.store, now, ())
    assert ticks.read(services.store, now - HOUR).pauses == ((now, now - HOUR),)


def test_the_newest_pauses_are_kept(services: Services) -> None:
    now = services.clock.now()
    for number in range(ticks.MAX_PAUSES + 3):
        at = now + number * HOUR
        ticks.record(services.store, at, ticks.read(services.store, at).pauses)
    pauses = ticks.read(services.store, at + MINUTE).pauses
    assert len(pauses) == ticks.MAX_PAUSES
    assert pauses[-1] == (at - HOUR, at)


NAIVE, NO_TIMES = "2026-01-01T00:00:00", (None, 5, "", "soon", "2026-01-01T00:00:00", "0001-01-01T00:00:00+00:00")


def damage(services: Services, partition: str, id: str, change: dict[str, Any]) -> None:
    stored = services.store.get(partition, id)
    assert stored is not None
    services.store.batch(partition, [Write("replace", id, {**stored.document, **change})])


TICK_CHANGES = [
    *({"at": time} for time in NO_TIMES),
    *({"pauses": pauses} for pauses in (None, 5, [5], [["a"]], [[NAIVE, NAIVE]], [[None, None]], {"a": "b"})),
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("change", TICK_CHANGES, ids=str)
def test_ticks_that_cannot_be_read_are_logged_and_begin_anew(
    services: Services, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    now = services.clock.now()
    ticks.record(services.store, now, ())
    damage(services, ticks.TICK, ticks.TICK, change)
    with caplog.at_level(logging.ERROR):
        assert ticks.read(services.store, now) == ticks.Ticks()
    assert "document 'reconcile-tick' of 'reconcile-tick' cannot be read" in caplog.text
    ticks.record(services.store, now, ())
    assert ticks.read(services.store, now) == ticks.Ticks(now)


SCAN_CHANGES = [
    *({"began_at": time} for time in NO_TIMES),
    *({"since": time} for time in NO_TIMES if time is not None),
    *({"cursor": cursor} for cursor in (5, ["a"], {"a": 1}, True)),
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("change", SCAN_CHANGES, ids=str)
def test_a_scan_that_cannot_be_read_is_logged_and_begins_anew(
    services: Services, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    now = services.clock.now()
    ticks.record_scan(services.store, ticks.DropZoneScan(now, now - HOUR, "datasets/shop/a.jsonl"))
    damage(services, ticks.SCAN, ticks.SCAN, change)
    with caplog.at_level(logging.ERROR):
        assert ticks.scan(services.store, now) == ticks.DropZoneScan(now)
    assert "document 'drop-zone-scan' of 'drop-zone-scan' cannot be read" in caplog.text


@pytest.mark.parametrize("failing", [None, 5, {}])
def test_failures_that_cannot_be_read_are_written_anew(services: Services, failing: object) -> None:
    now = services.clock.now()
    ticks.record_failures(services.store, "reconcile", now, {"run-1": "broken"})
    damage(services, "reconcile", ticks.FAILED, {"failing": failing})
    assert ticks.failing(services.store, "reconcile") == []
    ticks.record_failures(services.store, "reconcile", now, {"run-2": "broken"})
    assert ticks.failing(services.store, "reconcile") == ["run-2"]


def test_a_record_of_failures_without_its_fields_takes_what_the_tick_found(services: Services) -> None:
    services.store.batch("reconcile", [Write("create", ticks.FAILED, {"id": ticks.FAILED, "type": ticks.FAILED})])
    ticks.record_failures(services.store, "reconcile", services.clock.now(), {})
    assert [(timer, count) for timer, _, count, _ in ticks.failures(services.store)] == [("reconcile", 0)]
