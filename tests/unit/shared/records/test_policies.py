"""The policy in the store: its versions, and one that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.catalog import CATALOG, READINGS, every_entry, known_entry
from shared.domain.errors import StoreConflict, Transient
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.ports import Services, Write
from shared.records import policies
from tests.unit.shared.domain.own_base import ENTRY

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_before_one_is_applied_nothing_is_limited(services: Services) -> None:
    assert policies.read(services.store) == AppliedPolicy()


def test_every_version_is_kept_with_who_applied_it(services: Services) -> None:
    first, second = PlatformPolicy(approvers=2), PlatformPolicy(approvers=3)
    policies.apply(services.store, first, 0, "ada", "object-1", NOW)
    policies.apply(services.store, second, 1, "bob", "object-2", NOW)
    assert policies.read(services.store) == policies.read(services.store, 2)
    assert policies.read(services.store) == AppliedPolicy(version=2, policy=second, by="bob", by_id="object-2", at=NOW)
    assert policies.read(services.store, 1) == AppliedPolicy(
        version=1, policy=first, by="ada", by_id="object-1", at=NOW
    )


@pytest.mark.parametrize("replacing", [0, 2])
def test_a_policy_does_not_replace_one_that_its_author_has_not_seen(services: Services, replacing: int) -> None:
    policies.apply(services.store, PlatformPolicy(approvers=2), 0, "ada", "object-1", NOW)
    with pytest.raises(StoreConflict):
        policies.apply(services.store, PlatformPolicy(), replacing, "bob", "object-2", NOW)
    assert policies.read(services.store).policy.approvers == 2


def test_while_the_policy_cannot_be_read_nothing_is_allowed_and_another_may_be_applied(services: Services) -> None:
    policies.apply(services.store, PlatformPolicy(approvers=2), 0, "ada", "object-1", NOW)
    stored = services.store.get("policy", "policy")
    assert stored is not None
    damaged = {**stored.document, "content": {"policy": {"approvers": "many"}}}
    services.store.batch("policy", [Write("replace", "policy", damaged, stored.etag)])
    with pytest.raises(Transient, match="policy_unreadable"):
        policies.read(services.store)
    policies.apply(services.store, PlatformPolicy(approvers=3), 1, "ada", "object-1", NOW)
    assert policies.read(services.store).policy.approvers == 3


def test_the_base_models_of_the_policy_in_force_are_found_beside_the_catalog(services: Services) -> None:
    policies.apply(services.store, PlatformPolicy(base_models=(ENTRY,)), 0, "ada", "object-1", NOW)
    policies.read(services.store)
    assert known_entry(ENTRY.id) == ENTRY
    policies.apply(services.store, PlatformPolicy(), 1, "ada", "object-1", NOW)
    policies.read(services.store)
    policies.read(services.store, 1)  # to look at an old version does not bring its models back
    assert known_entry(ENTRY.id) is None


def test_a_release_that_has_a_tenants_base_or_no_more_trains_its_architecture_stops_no_run(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies.apply(services.store, PlatformPolicy(base_models=(ENTRY,)), 0, "ada", "object-1", NOW)
    later = CATALOG["microsoft/Phi-4"].model_copy(update={"id": ENTRY.id})
    monkeypatch.setitem(CATALOG, ENTRY.id, later)
    monkeypatch.delitem(READINGS, ENTRY.dims.model_type)
    assert policies.read(services.store).policy.base_models == (ENTRY,)
    assert known_entry(ENTRY.id) == later
    assert [entry for entry in every_entry() if entry.id == ENTRY.id] == [later]
