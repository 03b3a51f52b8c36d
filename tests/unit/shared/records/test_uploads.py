"""Who uploaded a file: known for exactly the content and the path that came over the API."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.ports import Services
from shared.records.uploads import Uploader, record, uploader

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PATH = "datasets/shop/train.jsonl"


def test_the_uploader_is_known_for_exactly_that_content_and_path(services: Services) -> None:
    record(services.store, PATH, "a" * 64, Uploader("Ada", "object-1"), NOW)
    assert uploader(services.store, PATH, "a" * 64) == Uploader("Ada", "object-1")
    assert uploader(services.store, PATH, "b" * 64) is None
    assert uploader(services.store, "datasets/bank/train.jsonl", "a" * 64) is None


def test_of_the_same_content_the_newest_uploader_counts(services: Services) -> None:
    for number in (1, 2):
        record(services.store, PATH, "a" * 64, Uploader(f"person {number}", f"object-{number}"), NOW)
    assert uploader(services.store, PATH, "a" * 64) == Uploader("person 2", "object-2")
