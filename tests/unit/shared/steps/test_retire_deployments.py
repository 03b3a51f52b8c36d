"""Which deployments are deleted, and when."""

from __future__ import annotations

import pytest

from shared.domain.endpoint import EndpointRecord
from shared.ports import Services
from shared.records import claims, endpoints
from shared.step_support.outcome import Draft
from shared.steps.retire_deployments import retire_deployments
from tests.clock import ManualClock
from tests.unit.shared.steps.production import NEW, OLD, Endpoint


def retired(record: EndpointRecord, ports: Services) -> list[str]:
    published: list[Draft] = []
    retire_deployments(record, ports, published.append)
    return [draft.data.model_dump()["deployment"] for draft in published]


def test_the_previous_deployment_is_retired_after_its_time_and_strays_at_once(
    ports: Services, endpoint: Endpoint, clock: ManualClock, record: EndpointRecord
) -> None:
    endpoint.deployments.append("d-stray")
    assert retired(record, ports) == ["d-stray"]
    clock.advance(25 * 3600)
    assert retired(record, ports) == [OLD]
    assert endpoint.deployments == [NEW]
    left = endpoints.read(ports.store, "shop")
    assert left is not None
    assert left.previous is None
    assert retired(left, ports) == []


def test_nothing_is_retired_while_a_rollout_holds_the_endpoint(
    ports: Services, endpoint: Endpoint, record: EndpointRecord
) -> None:
    endpoint.deployments.append("d-being-rolled-out")
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", ports.clock.now())
    assert retired(record, ports) == []


@pytest.mark.parametrize("ahead_days", [1, 200])
def test_a_previous_deployment_is_kept_no_longer_although_the_clock_that_dated_it_was_set_back(
    ports: Services, endpoint: Endpoint, clock: ManualClock, record: EndpointRecord, ahead_days: int
) -> None:
    clock.advance(-ahead_days * 24 * 3600)
    assert retired(record, ports) == []
    clock.advance(23 * 3600)
    for left in endpoints.all_records(ports.store):
        assert retired(left, ports) == []
    clock.advance(2 * 3600)
    assert [retired(left, ports) for left in endpoints.all_records(ports.store)] == [[OLD]]
