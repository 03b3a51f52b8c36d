"""Claims: one owner each."""

from __future__ import annotations

from shared.ports import Services
from shared.records import claims

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
