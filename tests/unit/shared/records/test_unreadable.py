"""Which documents are said to be unreadable: those in use, of each kind, and no other."""

from __future__ import annotations

import pytest

from shared.domain.errors import InvalidInput
from shared.ports import Services, Write
from shared.records.unreadable import release, unreadable

IN_USE = [
    ("run", {"finished": 0}),
    ("outbox", {"sent": 0}),
    ("claim", {"settled": 0}),
    ("endpoint", {}),
]


@pytest.mark.parametrize(("type", "fields"), IN_USE)
def test_a_document_in_use_that_cannot_be_read_is_named_until_it_is_released(
    services: Services, type: str, fields: dict[str, int]
) -> None:
    document = {"id": "x", "type": type, "created_at": "2026-01-01T00:00:00+00:00", **fields}
    services.store.batch("p", [Write("create", "x", document)])
    [found] = unreadable(services.store)
    assert (found.type, found.partition, found.id) == (type, "p", "x")
    path = release(services.store, services.blobs, "p", "x")
    assert path is not None
    assert services.blobs.info(path) is not None
    assert list(unreadable(services.store)) == []
    assert release(services.store, services.blobs, "p", "x") is None


def test_a_document_of_another_kind_is_never_released(services: Services) -> None:
    services.store.batch("p", [Write("create", "x", {"id": "x", "type": "budget"})])
    with pytest.raises(InvalidInput, match="document_readable"):
        release(services.store, services.blobs, "p", "x")
