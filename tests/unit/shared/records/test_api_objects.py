"""Objects of the API that are no runs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from shared.domain.errors import InvalidInput, LaterVersion, PermanentFailure, StoreConflict, UnreadableDocument
from shared.ports import Services, Write
from shared.records import api_objects
from shared.records.api_objects import File, Job, tag_of


def file(number: int) -> File:
    return File(id=f"file-{number:03}", bytes=1, created_at=number, filename="train.jsonl")


def job(number: int, now: Any) -> Job:
    return Job(
        id=f"run-{number:012x}",
        created_at=now + timedelta(seconds=number),
        model="droptune/tiny-llama",
        training_file="file-1",
        validation_file=None,
        project="shop",
        method={"type": "supervised", "supervised": {"hyperparameters": {}}},
        seed=1,
        metadata=None,
    )


def test_objects_are_created_once_listed_and_deleted(services: Services) -> None:
    now, unreadable = services.clock.now(), list[UnreadableDocument]()
    for number in range(3):
        api_objects.create(services.store, file(number), now + timedelta(seconds=number))
    with pytest.raises(StoreConflict):
        api_objects.create(services.store, file(0), now)
    assert api_objects.load(services.store, File, "file-001") == file(1)
    assert list(api_objects.every(services.store, File, unreadable)) == [file(2), file(1), file(0)]
    for _ in range(2):
        api_objects.delete(services.store, File, "file-001")
    assert (api_objects.load(services.store, File, "file-001"), unreadable) == (None, [])


def test_a_list_goes_on_behind_an_object_without_reading_those_before_it(services: Services) -> None:
    now, unreadable = services.clock.now(), list[UnreadableDocument]()
    for n in range(250):
        api_objects.create(services.store, file(n), now + timedelta(seconds=n // 3))
    whole = list(api_objects.every(services.store, File, unreadable))
    requested: list[str | None] = []
    query = services.store.query

    def counted(*args: Any, **options: Any) -> Any:
        requested.append(options["after"])
        return query(*args, **options)

    services.store.query = counted  # type: ignore[method-assign]
    for n in (0, 1, 120, 249):
        requested.clear()
        behind = list(islice(api_objects.every(services.store, File, unreadable, whole[n].id), 5))
        assert behind == whole[n + 1 : n + 6]
        assert (len(requested), None in requested) == (1, False)
    with pytest.raises(InvalidInput, match="unknown_cursor"):
        api_objects.every(services.store, File, unreadable, "file-999")


@pytest.mark.parametrize("others", [3, 300])
def test_jobs_are_found_by_metadata_without_reading_others(services: Services, others: int) -> None:
    now, found = services.clock.now(), []
    for number in range(others):
        tags = map(tag_of, (("team", "b"), ("case", str(number))))
        api_objects.create(services.store, job(number, now), now, tags)
    for number in range(others, others + 3):
        found.append(job(number, now))
        api_objects.create(services.store, found[-1], found[-1].created_at, [tag_of(("team", "a"))])
    read: Counter[str] = Counter()
    query = services.store.query

    def counted(*args: Any, **options: Any) -> Any:
        page = query(*args, **options)
        read["queries"] += 1
        read["documents"] += len(page[0])
        return page

    services.store.query = counted  # type: ignore[method-assign]
    unreadable = list[UnreadableDocument]()
    tag = tag_of(("team", "a"))
    assert list(api_objects.every(services.store, Job, unreadable, tag=tag)) == found[::-1]
    assert list(api_objects.every(services.store, Job, unreadable, found[1].id, tag)) == found[:1]
    assert list(api_objects.every(services.store, Job, unreadable, tag=tag_of(("team", "c")))) == []
    assert (read, unreadable) == ({"queries": 3, "documents": 4}, [])


def test_an_object_that_cannot_be_read_is_a_failure_of_ours(services: Services) -> None:
    api_objects.create(services.store, file(1), services.clock.now())
    stored = services.store.get("file-001", File.kind)
    assert stored is not None
    services.store.batch("file-001", [Write("replace", File.kind, {**stored.document, "content": {"id": "file-001"}})])
    with pytest.raises(PermanentFailure, match="unreadable_document: the stored file does not fit this version"):
        api_objects.load(services.store, File, "file-001")
    services.store.batch("file-001", [Write("replace", File.kind, {**stored.document, "schema_version": 2})])
    with pytest.raises(LaterVersion):
        api_objects.load(services.store, File, "file-001")
