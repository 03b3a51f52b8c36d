"""Objects of the API that are no runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.errors import StoreConflict
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
