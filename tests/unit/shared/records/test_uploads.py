"""Who uploaded a file: known for exactly the version of a blob that came over the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.ports import Services
from shared.records.uploads import ANNOUNCED_S, Uploaders, record, uploaders, withdraw
from tests.clock import ManualClock

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PATH, SHA256 = "datasets/shop/train.jsonl", "a" * 64
ADA, BOB = Uploaders("Ada", ("object-1", "object-3")), Uploaders("Bob", ("object-2",))


@pytest.mark.parametrize(
    ("path", "etag", "sha256", "known"),
    [
        (PATH, "1", SHA256, ADA),
        (PATH, "2", SHA256, None),  # the same content, written again
        (PATH, "1", "b" * 64, None),
        ("datasets/bank/train.jsonl", "1", SHA256, None),
    ],
)
def test_the_uploaders_are_known_of_exactly_that_version(
    services: Services, path: str, etag: str, sha256: str, known: Uploaders | None
) -> None:
    record(services.store, PATH, "1", SHA256, ADA, NOW)
    assert uploaders(services.store, path, etag, sha256) == known


def test_an_upload_under_way_is_whose_it_was_announced_to_be_until_it_ends(
    services: Services, clock: ManualClock
) -> None:
    record(services.store, PATH, "1", SHA256, BOB, NOW)
    record(services.store, PATH, "", SHA256, ADA, NOW, ttl_s=ANNOUNCED_S)
    assert uploaders(services.store, PATH, "2", SHA256) == ADA
    assert uploaders(services.store, PATH, "1", SHA256) == BOB, "that version is known"
    withdraw(services.store, PATH, SHA256)
    withdraw(services.store, PATH, SHA256)
    assert uploaders(services.store, PATH, "2", SHA256) is None
    record(services.store, PATH, "", SHA256, ADA, NOW, ttl_s=ANNOUNCED_S)
    clock.advance(ANNOUNCED_S + 1)
    assert uploaders(services.store, PATH, "2", SHA256) is None
