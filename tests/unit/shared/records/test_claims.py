"""Claims: one owner each."""

from __future__ import annotations

from functools import partial

import pytest

from shared.domain.errors import InvalidInput, LaterVersion, WaitsForRelease
from shared.ports import Services, Write
from shared.records import claims
from shared.records.unreadable import unreadable
from shared.runner import Runner

NAME = claims.endpoint_claim("shop")


def test_a_claim_has_the_owner_that_took_it_first(services: Services) -> None:
    now = services.clock.now()
    assert claims.take(services.store, NAME, "run-1", now) == "run-1"
    assert claims.take(services.store, NAME, "run-2", now) == "run-1"
    assert claims.read(services.store, NAME) == claims.Claim(NAME, "endpoint", "run-1", now)


def test_only_its_owner_gives_a_claim_back(services: Services) -> None:
    claims.take(services.store, NAME, "run-1", services.clock.now())
    claims.release(services.store, NAME, "run-2")
    assert claims.read(services.store, NAME) is not None
    claims.release(services.store, NAME, "run-1")
    assert claims.read(services.store, NAME) is None


def test_a_settled_claim_is_kept_and_not_released_again(services: Services) -> None:
    for name in (NAME, claims.dataset_claim("shop", "0" * 64, "f")):
        claims.take(services.store, name, "run-1", services.clock.now())
    claims.settle(services.store, NAME, "run-2")
    assert len(list(claims.unsettled(services.store))) == 2
    claims.settle(services.store, NAME, "run-1")
    assert [claim.kind for claim in claims.unsettled(services.store)] == ["dataset"]
    assert claims.read(services.store, NAME) is not None


@pytest.mark.parametrize("created_at", ["2026-01-01T00:00:00", "2026-01-01", "0001-01-01T00:00:00+00:00", "", "soon"])
def test_a_claim_without_a_time_that_can_be_compared_is_unreadable_and_can_be_released(
    services: Services, created_at: str
) -> None:
    claims.take(services.store, NAME, "run-1", services.clock.now())
    stored = services.store.get(NAME, claims.CLAIM)
    assert stored is not None
    damaged = {**stored.document, "created_at": created_at}
    services.store.batch(NAME, [Write("replace", claims.CLAIM, damaged)])
    assert list(claims.unsettled(services.store)) == []
    assert [found.partition for found in unreadable(services.store, services.clock.now())] == [NAME]
    assert Runner(services).release_unreadable(NAME, claims.CLAIM, "ada") is not None
    assert claims.take(services.store, NAME, "run-2", services.clock.now()) == "run-2"


@pytest.mark.parametrize(
    "damage",
    [{"owner": 5}, {"kind": None}, {"kind": "turn"}, {"name": "other"}, {"created_at": "soon"}, {"schema_version": 99}],
)
def test_a_claim_that_cannot_be_read_is_nobodys_to_give_back_and_says_what_takes_it_out(
    services: Services, damage: dict[str, object]
) -> None:
    claims.take(services.store, NAME, "run-1", services.clock.now())
    stored = services.store.get(NAME, claims.CLAIM)
    assert stored is not None
    services.store.batch(NAME, [Write("replace", claims.CLAIM, {**stored.document, **damage})])
    claims.release(services.store, NAME, "run-1")
    claims.settle(services.store, NAME, "run-1")
    expected, match = (
        (LaterVersion, "schema version 99")
        if "schema_version" in damage
        else (WaitsForRelease, f"`droptune dlq release {NAME} --id claim`")
    )
    for call in (claims.read, partial(claims.take, run_id="run-1", now=services.clock.now())):
        with pytest.raises(expected, match=match):
            call(services.store, NAME)
    assert [found.partition for found in unreadable(services.store, services.clock.now())] == [NAME]
    if expected is LaterVersion:
        with pytest.raises(InvalidInput, match="later_version"):
            Runner(services).release_unreadable(NAME, claims.CLAIM, "ada")
        return
    assert Runner(services).release_unreadable(NAME, claims.CLAIM, "ada") is not None
    assert claims.take(services.store, NAME, "run-2", services.clock.now()) == "run-2"
