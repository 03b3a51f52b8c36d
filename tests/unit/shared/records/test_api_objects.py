"""Objects of the API that are no runs."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from shared.domain.errors import InvalidInput, StoreConflict
from shared.ports import Services
from shared.records import api_objects


def test_objects_are_created_once_found_by_field_and_deleted(services: Services) -> None:
    now = services.clock.now()
    for number, purpose in enumerate(("fine-tune", "other", "fine-tune")):
        created_at = now + timedelta(seconds=number)
        api_objects.create(services.store, "file", f"file-{number}", {"n": number}, created_at, purpose=purpose)
    with pytest.raises(StoreConflict):
        api_objects.create(services.store, "file", "file-0", {}, now)
    assert api_objects.load(services.store, "file", "file-1") == {"n": 1}
    assert list(api_objects.every(services.store, "file", dict)) == [{"n": 2}, {"n": 1}, {"n": 0}]
    assert list(api_objects.every(services.store, "file", dict, purpose="fine-tune")) == [{"n": 2}, {"n": 0}]
    for _ in range(2):
        api_objects.delete(services.store, "file", "file-1")
    assert api_objects.load(services.store, "file", "file-1") is None


def test_a_list_goes_on_behind_an_object_without_reading_those_before_it(services: Services) -> None:
    now = services.clock.now()
    for n in range(250):
        api_objects.create(services.store, "thing", f"t{n:03}", {"n": n}, now + timedelta(seconds=n // 3))
    whole = list(api_objects.every(services.store, "thing", dict))
    ids = [f"t{content['n']:03}" for content in whole]
    requested: list[str | None] = []
    query = services.store.query

    def counted(*args: Any, **options: Any) -> Any:
        requested.append(options["after"])
        return query(*args, **options)

    services.store.query = counted  # type: ignore[method-assign]
    for n in (0, 1, 120, 249):
        requested.clear()
        behind = list(islice(api_objects.every(services.store, "thing", dict, ids[n]), 5))
        assert behind == whole[n + 1 : n + 6]
        assert (len(requested), None in requested) == (1, False)
    with pytest.raises(InvalidInput, match="unknown_cursor"):
        api_objects.every(services.store, "thing", dict, "t999")
