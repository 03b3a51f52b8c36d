"""The document of what the deployments of an endpoint cost."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.endpoint import ServedDeployment, ServingCosts
from shared.domain.errors import LaterVersion, StoreConflict, UnreadableDocument
from shared.domain.upgrades import SCHEMA_VERSION
from shared.ports import Services, Write
from shared.records import serving_costs
from shared.records.claims import endpoint_claim
from shared.records.serving_costs import COSTS


def entry(services: Services, name: str = "d-1") -> ServedDeployment:
    return ServedDeployment(
        deployment=name, run="run-1", instance_type="x", instances=1, usd_per_hour=2, since=services.clock.now()
    )


def begin(services: Services, name: str = "d-1") -> None:
    serving_costs.change(services.store, "shop", lambda costs: costs.begun(entry(services, name)))


def damage(services: Services, **changes: Any) -> None:
    stored = services.store.get(endpoint_claim("shop"), COSTS)
    assert stored is not None
    document = {**stored.document, **changes}
    services.store.batch(endpoint_claim("shop"), [Write("replace", COSTS, document)])


def test_an_endpoint_without_a_document_cost_nothing(services: Services) -> None:
    assert serving_costs.read(services.store, "shop") == ServingCosts(endpoint="shop")
    assert serving_costs.with_running(services.store) == set()


def test_costs_come_back_as_they_were_written_and_those_with_something_running_are_found(services: Services) -> None:
    begin(services)
    assert serving_costs.read(services.store, "shop").running == (entry(services),)
    assert serving_costs.with_running(services.store) == {"shop"}
    serving_costs.change(services.store, "shop", lambda costs: costs.left((), services.clock.now()))
    assert serving_costs.with_running(services.store) == set()


def test_a_change_meanwhile_is_a_conflict_even_if_it_changes_nothing(services: Services) -> None:
    """Else a timer that did not see a deployment yet would end what is just being created again."""
    begin(services)

    def left(costs: ServingCosts) -> ServingCosts:
        begin(services)
        return costs.left((), services.clock.now())

    with pytest.raises(StoreConflict):
        serving_costs.change(services.store, "shop", left)
    assert serving_costs.read(services.store, "shop").running == (entry(services),)


@pytest.mark.parametrize("content", [None, "x", [1], {"running": 5}, {"endpoint": "bank"}])
def test_damaged_costs_keep_what_can_be_read_and_stop_no_deployment(services: Services, content: Any) -> None:
    begin(services)
    months = {"2026-01": 5.0}
    damage(services, costs={**content, "ended_usd": months} if isinstance(content, dict) else content)
    found = serving_costs.read(services.store, "shop")
    assert (found.endpoint, found.ended_usd) == ("shop", months if isinstance(content, dict) else {})
    begin(services, "d-2")
    assert [one.deployment for one in serving_costs.read(services.store, "shop").running] == ["d-2"]


def test_all_costs_are_those_of_every_endpoint_and_what_cannot_be_read_is_named(services: Services) -> None:
    begin(services)
    serving_costs.change(services.store, "bank", lambda costs: costs.begun(entry(services)))
    found = serving_costs.all_costs(services.store, [])
    assert {one.endpoint: one.running for one in found} == dict.fromkeys(("shop", "bank"), (entry(services),))
    damage(services, schema_version=SCHEMA_VERSION + 1)
    unreadable: list[UnreadableDocument] = []
    assert [one.endpoint for one in serving_costs.all_costs(services.store, unreadable)] == ["bank"]
    assert [(one.type, one.partition) for one in unreadable] == [(COSTS, endpoint_claim("shop"))]


def test_costs_of_a_later_version_are_left_alone(services: Services) -> None:
    begin(services)
    damage(services, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(LaterVersion):
        begin(services)
