"""Queries, page by page."""

from __future__ import annotations

from shared.ports import Services, Write
from shared.records.document import PAGE, pages


def test_every_document_of_a_query_is_read_and_no_other(services: Services) -> None:
    for number in range(PAGE + 5):
        services.store.batch(f"p{number}", [Write("create", "thing", {"type": "thing", "sent": number % 2})])
    assert len(list(pages(services.store, "thing"))) == PAGE + 5
    assert {stored.document["sent"] for stored in pages(services.store, "thing", {"sent": 1})} == {1}
    assert len(list(pages(services.store, "thing", {"sent": 1}))) == (PAGE + 5) // 2
