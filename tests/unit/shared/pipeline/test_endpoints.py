"""What happens to an endpoint after a promotion: rollback by order, retirement, scheduled retraining."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import Transient
from shared.domain.events import Event, EventData, RollbackRequested
from shared.domain.jobs import EndpointView
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Retrain
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, runs
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.retire_deployments import retire_deployments
from shared.steps.retrain import retrain
from shared.steps.roll_back import roll_back
from tests.clock import ManualClock
from tests.unit.shared.pipeline.support import ROW, drop

NEW, OLD = "d-new", "d-old"


class Endpoint:
    """One endpoint whose traffic changes only when the test says so."""

    def __init__(self) -> None:
        self.traffic = {NEW: 100}
        self.wanted = self.traffic
        self.deployments = [NEW, OLD]

    def settle(self) -> None:
        self.traffic = self.wanted

    def get_endpoint(self, name: str) -> EndpointView:
        return EndpointView(
            name=name, scoring_uri="http://x/", traffic=self.traffic, deployments=tuple(self.deployments)
        )

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        self.wanted = traffic

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        assert name not in self.traffic, "Azure refuses that"
        self.deployments.remove(name)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def ports(services: Services, endpoint: Endpoint) -> Services:
    return replace(services, models=endpoint)  # type: ignore[arg-type]


@pytest.fixture
def champion(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    recipe = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=7))
    return created.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))


@pytest.fixture
def record(ports: Services, champion: Run) -> endpoints.EndpointRecord:
    now = ports.clock.now()
    written = endpoints.EndpointRecord(
        endpoint="shop",
        project="shop",
        champion=champion.id,
        deployment=NEW,
        model="shop:2",
        scoring_uri="http://x/",
        promoted_at=now,
        previous=endpoints.Previous(
            champion="run-old",
            project="shop",
            deployment=OLD,
            model="shop:1",
            keep_until=now + timedelta(hours=24),
        ),
    )
    endpoints.write(ports.store, written, replacing=None)
    return written


def order(champion: Run, **changes: Any) -> Event[EventData]:
    requested = RollbackRequested(**{"endpoint": "shop", "deployment": NEW, "by": "ada", **changes})
    return event_of(champion, requested, champion.updated_at)


def facts_of(outcome: Any) -> list[tuple[str, dict[str, int]]]:
    return [(draft.data.fact(), draft.data.traffic) for draft in outcome.events]


def test_a_rollback_is_written_once_the_traffic_is_seen_and_can_be_reversed(
    ports: Services, endpoint: Endpoint, champion: Run, record: endpoints.EndpointRecord
) -> None:
    with pytest.raises(Transient, match="traffic_shifting"):
        roll_back(order(champion), champion, ports)
    assert endpoints.read(ports.store, "shop") == record
    endpoint.settle()
    assert facts_of(roll_back(order(champion), champion, ports)) == [("model.rolled_back", {OLD: 100})]
    swapped = endpoints.read(ports.store, "shop")
    assert swapped is not None
    assert swapped.previous is not None
    assert (swapped.champion, swapped.deployment, swapped.previous.deployment) == ("run-old", OLD, NEW)
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_rollback_delivered_twice_goes_back_once(
    ports: Services, endpoint: Endpoint, champion: Run, record: endpoints.EndpointRecord
) -> None:
    with pytest.raises(Transient):
        roll_back(order(champion), champion, ports)
    endpoint.settle()
    roll_back(order(champion), champion, ports)
    assert facts_of(roll_back(order(champion), champion, ports)) == [("model.rolled_back", {OLD: 100})]
    assert endpoint.wanted == {OLD: 100}


def test_a_rollback_of_what_is_not_in_production_does_nothing(
    ports: Services, endpoint: Endpoint, champion: Run, record: endpoints.EndpointRecord
) -> None:
    assert roll_back(order(champion, deployment="d-other"), champion, ports) is None
    assert endpoint.wanted == {NEW: 100}


def test_a_rollback_waits_for_a_rollout_on_the_same_endpoint(
    ports: Services, champion: Run, record: endpoints.EndpointRecord
) -> None:
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", ports.clock.now())
    with pytest.raises(Transient, match="endpoint_busy"):
        roll_back(order(champion), champion, ports)


def test_the_previous_deployment_is_retired_after_its_time_and_strays_at_once(
    ports: Services, endpoint: Endpoint, clock: ManualClock, record: endpoints.EndpointRecord
) -> None:
    endpoint.deployments.append("d-stray")
    assert [draft.data.deployment for draft in retire_deployments(record, ports)] == ["d-stray"]
    clock.advance(25 * 3600)
    assert [draft.data.deployment for draft in retire_deployments(record, ports)] == [OLD]
    assert endpoint.deployments == [NEW]
    left = endpoints.read(ports.store, "shop")
    assert left is not None
    assert left.previous is None
    assert list(retire_deployments(left, ports)) == []


def test_nothing_is_retired_while_a_rollout_holds_the_endpoint(
    ports: Services, endpoint: Endpoint, record: endpoints.EndpointRecord
) -> None:
    endpoint.deployments.append("d-being-rolled-out")
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", ports.clock.now())
    assert list(retire_deployments(record, ports)) == []


@pytest.fixture
def live(ports: Services, champion: Run) -> Run:
    """The champion, whose run is over."""
    stored = runs.read(ports.store, champion.id)
    assert stored is not None
    ports.store.batch(champion.id, [runs.replacement(champion.evolve(status=Status.DEPLOYED), stored.etag)])
    return champion


def test_data_is_trained_on_again_when_its_time_has_come_and_once_a_period(
    ports: Services, clock: ManualClock, live: Run, record: endpoints.EndpointRecord
) -> None:
    assert retrain(record, live, ports) is None
    clock.advance(7 * 24 * 3600)
    command = retrain(record, live, ports)
    assert command is not None
    again = retrain(record, live, ports)
    assert again == command, "the same command until its run exists"
    clock.advance(7 * 24 * 3600)
    later = retrain(record, live, ports)
    assert later is not None
    assert later.id != command.id


def test_data_whose_own_run_is_under_way_is_not_trained_on_a_second_time(
    ports: Services, clock: ManualClock, champion: Run, record: endpoints.EndpointRecord
) -> None:
    clock.advance(7 * 24 * 3600)
    assert retrain(record, champion, ports) is None


def test_data_whose_event_is_still_expected_is_left_to_it(
    ports: Services, clock: ManualClock, live: Run, record: endpoints.EndpointRecord
) -> None:
    dropped = ports.blobs.write("datasets/shop/more.jsonl", [ROW * 2]).modified_at
    clock.advance((dropped - clock.now()).total_seconds() + 119)
    assert clock.now() - record.promoted_at > timedelta(days=7)
    assert retrain(record, live, ports) is None
    clock.advance(1)
    command = retrain(record, live, ports)
    assert command is not None
    assert command.path == "datasets/shop/more.jsonl"


def test_a_recipe_without_a_schedule_is_never_retrained(
    ports: Services, clock: ManualClock, champion: Run, record: endpoints.EndpointRecord
) -> None:
    recipe = Recipe(base_model="droptune/tiny-llama")
    silent = champion.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    clock.advance(365 * 24 * 3600)
    assert retrain(record, silent, ports) is None
