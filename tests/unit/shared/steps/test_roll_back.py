"""A rollback that a person asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.catalog import LicenseDecision
from shared.domain.endpoint import EndpointRecord, Stopped
from shared.domain.errors import FailureClass, PermanentFailure, Problem, Transient
from shared.domain.events import EndpointOrdered, Event, ModelRolledBack, RollbackRequested
from shared.domain.run import Rollback, Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, policies
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.reconcile import release_claims
from shared.steps.roll_back import roll_back
from tests.clock import ManualClock
from tests.unit.shared.steps.production import NEW, OLD, Endpoint


def rollback_requested(champion: Run, **changes: Any) -> Event[RollbackRequested]:
    requested = RollbackRequested(**{"endpoint": "shop", "deployment": NEW, "to": OLD, "by": "ada", **changes})
    return event_of(champion, requested, champion.updated_at)


def facts_of(outcome: Any) -> list[tuple[str, dict[str, int]]]:
    return [(draft.data.short_type(), draft.data.traffic) for draft in outcome.events]


def test_a_rollback_is_written_once_the_traffic_is_seen_and_can_be_reversed(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    with pytest.raises(Transient, match="traffic_shifting"):
        roll_back(rollback_requested(champion), champion, ports)
    assert endpoints.read(ports.store, "shop") == record
    endpoint.settle()
    assert facts_of(roll_back(rollback_requested(champion), champion, ports)) == [("model.rolled_back", {OLD: 100})]
    swapped = endpoints.read(ports.store, "shop")
    assert swapped is not None
    assert swapped.previous is not None
    assert (swapped.champion, swapped.deployment, swapped.previous.deployment) == ("run-old", OLD, NEW)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_model_whose_run_lost_its_recipe_is_rolled_back_and_kept_for_a_day(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    repaired = champion.evolve(recipe=None)
    with pytest.raises(Transient, match="traffic_shifting"):
        roll_back(rollback_requested(repaired), repaired, ports)
    endpoint.settle()
    assert facts_of(roll_back(rollback_requested(repaired), repaired, ports)) == [("model.rolled_back", {OLD: 100})]
    swapped = endpoints.read(ports.store, "shop")
    assert swapped is not None
    assert swapped.previous is not None
    assert swapped.previous.keep_until == ports.clock.now() + timedelta(days=1)


def test_a_rollback_delivered_twice_goes_back_once(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    with pytest.raises(Transient):
        roll_back(rollback_requested(champion), champion, ports)
    endpoint.settle()
    roll_back(rollback_requested(champion), champion, ports)
    assert facts_of(roll_back(rollback_requested(champion), champion, ports)) == [("model.rolled_back", {OLD: 100})]
    assert endpoint.requested == {OLD: 100}


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("", f"ada gave the traffic back to {OLD}"),
        ("wrong torque", f"ada gave the traffic back to {OLD}: wrong torque"),
    ],
)
def test_the_run_and_the_event_keep_who_asked_for_a_rollback_and_why(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord, comment: str, message: str
) -> None:
    request = rollback_requested(champion, comment=comment)
    with pytest.raises(Transient):
        roll_back(request, champion, ports)
    endpoint.settle()
    outcome = roll_back(request, champion, ports)
    assert outcome is not None
    [rolled_back] = [draft.data for draft in outcome.events if isinstance(draft.data, ModelRolledBack)]
    assert (rolled_back.reason, rolled_back.by) == (Problem(code="requested", message=message), "ada")
    assert outcome.status is Status.DEPLOYED
    assert outcome.changes["rollback"] == Rollback(reason=rolled_back.reason, by="ada", at=request.time)
    assert outcome.note == f"requested: {message}"


def test_the_run_that_gets_the_traffic_tells_of_it_where_that_in_production_cannot(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    """And is not said to have been rolled back itself."""
    old = champion.evolve(id="run-old")
    with pytest.raises(Transient, match="traffic_shifting"):
        roll_back(rollback_requested(old), old, ports)
    endpoint.settle()
    outcome = roll_back(rollback_requested(old), old, ports)
    assert outcome is not None
    assert (facts_of(outcome), outcome.changes) == ([("model.rolled_back", {OLD: 100})], {})
    assert outcome.note == f"requested: ada gave the traffic back to {OLD}"


@pytest.mark.parametrize(
    ("in_production", "before"),
    [("d-other", NEW), ("d-other", OLD), (NEW, "d-other"), (NEW, None), (OLD, "d-other")],
)
def test_a_rollback_is_void_once_it_is_not_about_what_is_in_production_any_more(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord, in_production: str, before: str | None
) -> None:
    """Such as after a rollout it waited for: it neither goes elsewhere nor is it taken for done."""
    assert record.previous is not None
    previous = record.previous.model_copy(update={"deployment": before}) if before else None
    changed = record.model_copy(update={"deployment": in_production, "previous": previous})
    endpoints.write(ports.store, changed, replacing=record)
    with pytest.raises(PermanentFailure, match=f"rollback_void: shop has {in_production} in production by now"):
        roll_back(rollback_requested(champion), champion, ports)
    assert endpoint.requested == {NEW: 100}
    assert endpoints.read(ports.store, "shop") == changed
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_rollback_to_what_was_deleted_by_hand_says_so_and_gives_the_endpoint_back(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    endpoint.deployments.remove(OLD)
    with pytest.raises(PermanentFailure, match=f"deployment_vanished: shop has no {OLD} any more"):
        roll_back(rollback_requested(champion), champion, ports)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_restore_after_the_deletion_of_its_endpoint_does_not_say_that_it_is_restored(
    ports: Services, champion: Run
) -> None:
    order = event_of(champion, EndpointOrdered(endpoint="shop", to="restored", by="ada"), champion.updated_at)
    with pytest.raises(PermanentFailure, match="rollback_void: shop was deleted"):
        roll_back(order, champion, ports)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_model_whose_license_is_refused_by_now_is_not_deployed_again(
    ports: Services, champion: Run, record: EndpointRecord
) -> None:
    stopped = record.model_copy(update={"stopped": Stopped(deployment=NEW, reason="idle", at=ports.clock.now())})
    endpoints.write(ports.store, stopped, replacing=record)
    base, by = champion.resolved.requested.base_model, {"by": "ada", "by_id": "object-1", "comment": "no"}
    decision = LicenseDecision(base_model=base, accepted=False, terms_sha256="0" * 64, at=ports.clock.now(), **by)
    policies.decide_license(ports.store, decision)
    order = event_of(champion, EndpointOrdered(endpoint="shop", to="restored", by="ada"), champion.updated_at)
    with pytest.raises(PermanentFailure, match="license_review") as refused:
        roll_back(order, champion, ports)
    assert refused.value.failure_class is FailureClass.LICENSE
    assert endpoints.read(ports.store, "shop") == stopped
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_rollback_whose_traffic_takes_long_keeps_the_endpoint_for_two_hours_at_most(
    ports: Services, clock: ManualClock, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    """Also if the clock is set forward by an hour meanwhile."""
    for wait_s in (600, 600, 3600, 2400, 1):
        with pytest.raises(Transient, match="traffic_shifting"):
            roll_back(rollback_requested(champion), champion, ports)
        clock.advance(wait_s)
        release_claims(ports, Runner(ports).note_timer)
        assert claims.read(ports.store, claims.endpoint_claim("shop")) is not None
    with pytest.raises(PermanentFailure, match="rollback_unfinished: 2:00:00 passed, and it is not seen: shop"):
        roll_back(rollback_requested(champion), champion, ports)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None
    assert endpoints.read(ports.store, "shop") == record


@pytest.mark.parametrize("wait_s", [1, 2 * 3600 + 1])
def test_a_rollback_that_waits_for_another_at_the_endpoint_goes_on_waiting(
    ports: Services, clock: ManualClock, champion: Run, record: EndpointRecord, wait_s: int
) -> None:
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", clock.now())
    clock.advance(wait_s)
    with pytest.raises(Transient, match="endpoint_busy"):
        roll_back(rollback_requested(champion), champion, ports)


def test_a_rollback_that_a_bug_stops_gives_the_endpoint_back(
    ports: Services, endpoint: Endpoint, champion: Run, record: EndpointRecord
) -> None:
    endpoint.requested = None  # type: ignore[assignment]
    endpoint.deployments = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        roll_back(rollback_requested(champion), champion, ports)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_rollback_waits_for_a_rollout_on_the_same_endpoint(
    ports: Services, champion: Run, record: EndpointRecord
) -> None:
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", ports.clock.now())
    with pytest.raises(Transient, match="endpoint_busy"):
        roll_back(rollback_requested(champion), champion, ports)
