"""What is known of a run that was asked for and waits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.errors import WaitsForRelease
from shared.ports import Services, Write
from shared.records import waits

FIRST, THEN = (
    waits.Wait("shop", "2 runs of shop are being validated or trained", datetime(2026, 1, 1, hour, tzinfo=UTC))
    for hour in (1, 2)
)


def test_the_last_that_was_noted_is_read_until_it_expires(services: Services) -> None:
    assert waits.read(services.store, "run-1") is None
    for wait in (FIRST, THEN):
        waits.note(services.store, "run-1", wait)
    assert waits.read(services.store, "run-1") == THEN
    services.clock.advance(waits.TTL_S + 1)  # type: ignore[attr-defined]
    assert waits.read(services.store, "run-1") is None


def test_a_damaged_note_is_named_and_not_taken_for_none(services: Services) -> None:
    waits.note(services.store, "run-1", FIRST)
    stored = services.store.get("wait:run-1", waits.WAIT)
    assert stored is not None
    services.store.batch("wait:run-1", [Write("replace", waits.WAIT, {**stored.document, "again_at": 5})])
    with pytest.raises(WaitsForRelease, match="unreadable_document"):
        waits.read(services.store, "run-1")
