"""Subscriptions as they are stored, and the log of their deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import StoreConflict, WaitsForRelease
from shared.domain.events import Severity
from shared.domain.subscriptions import DeliveryRecord, DeliveryState, Subscription
from shared.ports import Services, Write
from shared.records import subscriptions as records
from shared.records.unreadable import unreadable
from shared.runner import Runner
from tests.clock import ManualClock
from tests.subscriptions import subscribe, subscription


def record(services: Services, id: str) -> DeliveryRecord:
    event = {"id": id, "type": "t", "source": "/projects/shop", "specversion": "1.0"}
    return DeliveryRecord(event=event, state=DeliveryState.PENDING, noted_at=services.clock.now())


def test_a_project_has_a_name_once_and_another_has_it_too(services: Services) -> None:
    own = subscribe(services.store, project="shop")
    with pytest.raises(StoreConflict):
        subscribe(services.store, project="shop", id="ops-ffffffff")
    others = [subscribe(services.store, project="bank", id="ops-1"), subscribe(services.store, id="ops-2")]
    assert records.of_project(services.store, "shop") == [own]
    assert [records.by_id(services.store, one.id) for one in others] == others
    found = [records.find(services.store, id, "shop") for id in (own.id, "ops-1", "ops-2", "ops-9", "x")]
    assert found == [own, None, others[1], None, None]


def test_a_change_that_meets_another_is_made_of_that_one(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    made, met = subscribe(services.store), list[Subscription]()

    def changed(one: Subscription) -> Subscription:
        if not met:
            met.append(one)
            records.update(services.store, made, lambda other: other.model_copy(update={"version": 7}))
        return one.model_copy(update={"severity": Severity.ERROR})

    updated = records.update(services.store, made, changed)
    assert updated is not None
    assert (updated.version, updated.severity) == (7, "error")
    assert records.by_id(services.store, made.id) == updated
    records.delete(services.store, made)
    assert records.update(services.store, made, changed) is None
    with pytest.raises(StoreConflict):
        records.delete(services.store, made)


def test_what_a_later_version_added_to_one_stays(services: Services) -> None:
    made = subscribe(services.store)
    stored = services.store.get("subscriptions", "subscription.ops")
    assert stored is not None
    content: dict[str, Any] = {**stored.document["content"], "later": 1}
    services.store.batch(
        "subscriptions", [Write("replace", "subscription.ops", {**stored.document, "content": content})]
    )
    records.update(services.store, made, lambda one: one.model_copy(update={"version": 2}))
    again = services.store.get("subscriptions", "subscription.ops")
    assert again is not None
    assert (again.document["content"]["later"], again.document["content"]["version"]) == (1, 2)


def test_one_that_cannot_be_read_is_named_holds_no_other_and_is_released(services: Services) -> None:
    other, made = subscribe(services.store, name="other"), subscribe(services.store, name="run")
    stored = services.store.get("subscriptions", "subscription.run")
    assert stored is not None
    spoiled = {**stored.document, "content": {"name": 1}}
    services.store.batch("subscriptions", [Write("replace", "subscription.run", spoiled)])
    assert records.of_project(services.store, None) == [other]
    with pytest.raises(WaitsForRelease):
        records.find(services.store, made.id, "shop")
    [named] = unreadable(services.store, services.clock.now())
    assert (named.type, named.partition, named.id) == ("subscription", "subscriptions", "subscription.run")
    assert Runner(services).release_unreadable("subscriptions", "subscription.run", "ada") is not None
    assert records.find(services.store, made.id, "shop") is None


def test_the_log_is_paged_newest_first_and_kept_thirty_days(services: Services, clock: ManualClock) -> None:
    for number in range(5):
        records.note(services.store, "ops-1", record(services, f"e-{number}"), lambda one: one)
        clock.advance(1)
    page, cursor = records.deliveries(services.store, "ops-1", 3, None)
    rest, end = records.deliveries(services.store, "ops-1", 3, cursor)
    assert [one.event["id"] for one in (*page, *rest)] == [f"e-{number}" for number in (4, 3, 2, 1, 0)]
    assert end is None
    failed = record(services, "e-1").model_copy(update={"state": DeliveryState.FAILED})
    records.note(services.store, "ops-1", failed, lambda one: one.model_copy(update={"state": DeliveryState.HELD}))
    assert [one.state for one in records.all_deliveries(services.store, "ops-1")].count(DeliveryState.HELD) == 1
    clock.advance(timedelta(days=30).total_seconds() + 1)
    assert list(records.all_deliveries(services.store, "ops-1")) == []


def test_a_log_that_cannot_be_read_is_begun_anew(services: Services) -> None:
    records.note(services.store, "ops-1", record(services, "e-1"), lambda one: one)
    stored = services.store.get("deliveries:ops-1", "e-1")
    assert stored is not None
    services.store.batch("deliveries:ops-1", [Write("replace", "e-1", {**stored.document, "content": {}})])
    assert records.delivery(services.store, "ops-1", "e-1") is None
    records.note(services.store, "ops-1", record(services, "e-1"), lambda one: one)
    assert records.delivery(services.store, "ops-1", "e-1") is not None


def test_no_representation_has_a_url_or_a_key() -> None:
    made = subscription("https://jane:zzz@hooks.example/zzz?zzz")
    assert not any(secret in f"{made!r} {made} {made.target!r}" for secret in ("zzz", *made.keys))
