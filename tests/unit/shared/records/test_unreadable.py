"""Which documents are said to be unreadable: those in use, of each kind, and no other."""

from __future__ import annotations

import json

import pytest

from shared.domain.errors import InvalidInput, LaterVersion
from shared.ports import Services, Stored, Write
from shared.records.unreadable import _READERS, quarantined, unreadable
from shared.runner import Runner

IN_USE = [
    ("outbox", "outbox.x", {"sent": 0}),
    ("claim", "claim", {"settled": 0}),
    ("budget", "budget", {}),
    ("run", "run", {"finished": 0}),
    ("endpoint", "endpoint", {}),
]


@pytest.mark.parametrize(("type", "id", "fields"), IN_USE[:2])
def test_a_document_in_use_that_cannot_be_read_is_named_until_it_is_released(
    services: Services, type: str, id: str, fields: dict[str, int]
) -> None:
    document = {"id": id, "type": type, "created_at": "2026-01-01T00:00:00+00:00", **fields}
    services.store.batch("p", [Write("create", id, document)])
    [found] = unreadable(services.store, services.clock.now())
    assert (found.type, found.partition, found.id) == (type, "p", id)
    kept = quarantined(services.store, services.blobs, "p", id)
    assert kept is not None
    assert (kept[0].document, services.blobs.info(kept[1]) is not None) == (document, True)
    assert Runner(services).release_unreadable("p", id, "ada") == (kept[1], None)
    assert list(unreadable(services.store, services.clock.now())) == []
    assert Runner(services).release_unreadable("p", id, "ada") is None


@pytest.mark.parametrize(("type", "id", "fields"), IN_USE)
def test_a_document_of_a_later_version_is_named_with_its_number_and_never_released(
    services: Services, type: str, id: str, fields: dict[str, int]
) -> None:
    document = {"id": id, "type": type, "created_at": "2026-01-01T00:00:00+00:00", "schema_version": 99, **fields}
    content: dict[str, object] = {
        "run": {},
        "message_id": "m",
        "record": {},
        "name": "n",
        "kind": "k",
        "owner": "o",
        "scheduled_at": None,
        "usd": {},
    }
    services.store.batch("p", [Write("create", id, {**content, **document})])
    with pytest.raises(LaterVersion, match=f"{type}: schema version 99"):
        _READERS[type](Stored({**content, **document}, "1", "p"))
    [found] = unreadable(services.store, services.clock.now())
    assert (found.partition, found.problem) == ("p", f"{type}: schema version 99 is for a host of a later version")
    with pytest.raises(InvalidInput, match=r"later_version: .*schema version 99"):
        Runner(services).release_unreadable("p", id, "ada")
    assert [(one.partition, one.id) for one in unreadable(services.store, services.clock.now())] == [("p", id)]


@pytest.mark.parametrize("odd", [2**70, "\udce9", "\0", {"a": [None]}])
def test_whatever_a_document_holds_is_kept(services: Services, odd: object) -> None:
    """A file of SQLite may hold what no version would write."""
    stored = Stored({"id": "claim", "type": "claim", "odd": odd}, "1", "p")
    kept = quarantined(Holding(stored), services.blobs, "p", "claim")  # type: ignore[arg-type]
    assert kept is not None
    assert json.loads(b"".join(services.blobs.read(kept[1])))["document"]["odd"] == odd


class Holding:
    def __init__(self, stored: Stored) -> None:
        self.get = lambda partition, id: stored


def test_a_document_of_another_kind_is_never_released(services: Services) -> None:
    services.store.batch("p", [Write("create", "x", {"id": "x", "type": "inbox"})])
    with pytest.raises(InvalidInput, match="document_readable"):
        quarantined(services.store, services.blobs, "p", "x")
