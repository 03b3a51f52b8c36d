"""Which deployments are deleted, and when."""

from __future__ import annotations

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
