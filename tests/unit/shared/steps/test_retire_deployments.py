"""Which deployments are deleted, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.endpoint import EndpointRecord, ServedDeployment, Stopped
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, runs, serving_costs
from shared.step_support.outcome import Draft
from shared.steps.retire_deployments import count_costs, retire_deployments, stop_idle
from tests.clock import ManualClock
from tests.unit.shared.steps.production import NEW, OLD, Endpoint


def retired(record: EndpointRecord, ports: Services) -> list[str]:
    published: list[Draft] = []
    view = ports.models.get_endpoint(record.endpoint)
    retire_deployments(endpoints.as_of(ports.store, record, ports.clock.now()), view, ports, published.append)
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


def test_a_deployment_that_a_person_made_is_left_alone_and_costs_nothing_here(
    ports: Services, endpoint: Endpoint, record: EndpointRecord
) -> None:
    endpoint.deployments += ["blue", "d-stray"]
    assert retired(record, ports) == ["d-stray"]
    assert "blue" in endpoint.deployments
    count_costs("shop", ports)
    assert "blue" not in {one.deployment for one in serving_costs.read(ports.store, "shop").running}


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


def stops(record: EndpointRecord, champion: Run, ports: Services) -> list[str]:
    """The states that one tick publishes."""
    published: list[Draft] = []
    view = ports.models.get_endpoint(record.endpoint)
    stop_idle(record, view, champion, ports, published.append)
    return [draft.data.model_dump()["state"] for draft in published]


def with_hours(run: Run, hours: float | None) -> Run:
    deployment = run.resolved.requested.deployment.model_copy(update={"idle_hours": hours})
    requested = run.resolved.requested.model_copy(update={"deployment": deployment})
    return run.evolve(recipe=run.resolved.model_copy(update={"requested": requested}))


@pytest.fixture
def alone(ports: Services, endpoint: Endpoint, record: EndpointRecord) -> EndpointRecord:
    """An endpoint whose previous deployment is gone."""
    endpoint.deployments.remove(OLD)
    alone = record.model_copy(update={"previous": None})
    endpoints.write(ports.store, alone, replacing=record)
    return alone


def test_a_restore_that_was_dated_before_the_clock_was_set_back_counts_as_one_of_now(
    ports: Services, endpoint: Endpoint, clock: ManualClock, champion: Run, alone: EndpointRecord
) -> None:
    now, run = clock.now(), with_hours(champion, 4)
    ahead = alone.model_copy(update={"restored_at": now + timedelta(days=200)})
    endpoints.write(ports.store, ahead, replacing=alone)
    dated = endpoints.as_of(ports.store, ahead, now)
    assert endpoints.read(ports.store, "shop") == dated
    assert (dated.promoted_at, dated.restored_at) == (alone.promoted_at, now)
    clock.advance(4 * 3600)
    stops(dated, run, ports)
    assert endpoint.requested == {}


@pytest.mark.parametrize(
    ("own", "of_platform", "after"), [(4, 0, 4), (None, 6, 6), (4, 6, 4), (8, 6, 6), (None, 0, None)]
)
def test_the_shorter_of_the_recipes_and_the_platforms_hours_counts(
    ports: Services,
    endpoint: Endpoint,
    clock: ManualClock,
    champion: Run,
    alone: EndpointRecord,
    own: float | None,
    of_platform: float,
    after: float | None,
) -> None:
    ports = replace(ports, config=replace(ports.config, endpoint_idle_hours=of_platform))
    run = with_hours(champion, own)
    clock.advance((after or 720) * 3600 - 1)
    stops(alone, run, ports)
    assert endpoint.requested == {NEW: 100}, "it is younger"
    clock.advance(1)
    assert stops(alone, run, ports) == []
    assert endpoint.requested == ({} if after else {NEW: 100})
    endpoint.settle()
    assert stops(alone, run, ports) == (["stopped"] if after else [])
    left = endpoints.read(ports.store, "shop")
    assert left is not None
    assert (left.stopped is not None, endpoint.deployments) == (bool(after), [] if after else [NEW])
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


@pytest.mark.parametrize("why", ["used", "unknown", "previous", "rollout", "turn", "split", "awaited"])
def test_an_endpoint_that_is_used_or_about_to_change_is_left_alone(
    ports: Services, endpoint: Endpoint, clock: ManualClock, champion: Run, alone: EndpointRecord, why: str
) -> None:
    clock.advance(5 * 3600)
    champion = with_hours(champion, 4)
    if why in ("used", "unknown"):
        endpoint.used = True if why == "used" else None
    elif why == "previous":
        before = alone.as_previous(clock.now() + timedelta(hours=1))
        kept = alone.model_copy(update={"previous": before})
        endpoints.write(ports.store, kept, replacing=alone)
        alone = kept
    elif why == "split":
        endpoint.traffic = endpoint.requested = {NEW: 90, "d-candidate": 10}
    elif why == "awaited":
        waiting = champion.evolve(id="run-waiting", status=Status.AWAITING_APPROVAL, deadline_at=clock.now())
        ports.store.batch(waiting.id, [runs.creation(waiting)])
    else:
        claim = claims.endpoint_claim("shop") if why == "rollout" else claims.turn_claim("shop")
        claims.take(ports.store, claim, "run-other", clock.now())
    before_tick = endpoint.requested
    assert stops(alone, champion, ports) == []
    assert (endpoint.requested, endpoint.deployments) == (before_tick, [NEW])
    held = claims.read(ports.store, claims.endpoint_claim("shop"))
    assert (held and held.owner) == ("run-other" if why == "rollout" else None)


def test_a_deployment_that_somebody_deleted_is_recorded_as_stopped(
    ports: Services, endpoint: Endpoint, clock: ManualClock, champion: Run, alone: EndpointRecord
) -> None:
    clock.advance(5 * 3600)
    endpoint.deployments.clear()
    endpoint.traffic = {}
    endpoint.begin_delete_deployment = lambda endpoint, name: None  # type: ignore[method-assign]
    assert stops(alone, with_hours(champion, 4), ports) == ["stopped"]
    left = endpoints.read(ports.store, "shop")
    assert left is not None
    assert left.stopped is not None
    assert left.stopped.reason == "its deployment is gone"


@pytest.mark.parametrize("what", ["deployment", "endpoint"])
def test_what_was_deleted_in_azure_can_be_restored_where_nothing_is_ever_idle(
    ports: Services, endpoint: Endpoint, champion: Run, alone: EndpointRecord, what: str
) -> None:
    endpoint.deployments.clear()
    endpoint.traffic = {}
    endpoint.begin_delete_deployment = lambda endpoint, name: None  # type: ignore[method-assign]
    if what == "endpoint":
        endpoint.get_endpoint = lambda name: None  # type: ignore[method-assign, assignment, return-value]
    assert stops(alone, with_hours(champion, None), ports) == ["stopped"]
    (left,) = endpoints.all_records(ports.store)
    assert left.stopped is not None
    assert left.stopped.reason == "its deployment is gone"
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


@pytest.mark.parametrize("hours", [None, 24])
def test_a_limit_that_is_raised_while_the_traffic_is_being_taken_away_gives_it_back(
    ports: Services, endpoint: Endpoint, clock: ManualClock, champion: Run, alone: EndpointRecord, hours: float | None
) -> None:
    clock.advance(5 * 3600)
    stops(alone, with_hours(champion, 4), ports)
    endpoint.settle()
    assert endpoint.traffic == {}
    for _ in range(2):
        assert stops(alone, with_hours(champion, hours), ports) == []
        endpoint.settle()
    assert endpoint.traffic == {NEW: 100}
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_a_tick_that_died_after_it_wrote_that_it_stopped_holds_nobody_up(
    ports: Services, endpoint: Endpoint, champion: Run, alone: EndpointRecord
) -> None:
    stopped = alone.model_copy(update={"stopped": Stopped(deployment=NEW, at=ports.clock.now(), reason="idle")})
    endpoints.write(ports.store, stopped, replacing=alone)
    claims.take(ports.store, claims.endpoint_claim("shop"), "idle-shop", ports.clock.now())
    assert stops(stopped, with_hours(champion, 4), ports) == []
    assert claims.read(ports.store, claims.endpoint_claim("shop")) is None


def test_what_another_holds_is_not_given_its_traffic_back(
    ports: Services, endpoint: Endpoint, clock: ManualClock, champion: Run, alone: EndpointRecord
) -> None:
    clock.advance(5 * 3600)
    endpoint.used, endpoint.traffic, endpoint.requested = True, {}, {}
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-other", clock.now())
    assert stops(alone, with_hours(champion, 4), ports) == []
    assert endpoint.requested == {}


def counted(ports: Services) -> tuple[list[str], list[str]]:
    count_costs("shop", ports)
    found = serving_costs.read(ports.store, "shop")
    return [one.deployment for one in found.running], [one.deployment for one in found.ended]


def begun(ports: Services, run_id: str, max_instances: int | None = None) -> str:
    name = run_id.replace("run-", "d-")
    entry = ServedDeployment(
        deployment=name,
        run=run_id,
        instance_type="x",
        instances=1,
        max_instances=max_instances,
        usd_per_hour=1,
        since=ports.clock.now(),
    )
    serving_costs.change(ports.store, "shop", lambda costs: costs.begun(entry))
    return name


def test_a_deployment_that_is_gone_costs_nothing_from_then_on(ports: Services, endpoint: Endpoint) -> None:
    first, second = begun(ports, "run-1"), begun(ports, "run-2")
    endpoint.deployments = [first, second]
    assert counted(ports) == ([first, second], [])
    endpoint.deployments = [second]
    assert counted(ports) == ([second], [first])
    endpoint.get_endpoint = lambda name: None  # type: ignore[method-assign, assignment, return-value]
    assert counted(ports) == ([], [first, second])


def test_the_machines_that_are_there_are_counted_and_none_is_not_a_number_of_them(
    ports: Services, endpoint: Endpoint, clock: ManualClock
) -> None:
    name = begun(ports, "run-1")
    endpoint.deployments = [name]
    for instances, machines in ((3, [3]), (0, [3]), (1, [1])):
        clock.advance(3600)
        endpoint.instances = {name: instances}
        assert counted(ports)[0] == [name]
        costs = serving_costs.read(ports.store, "shop")
        assert [one.instances for one in costs.running] == machines
    assert [(one.instances, one.usd_per_hour) for one in costs.ended] == [(1, 1.0), (3, 3.0)]
    assert sum(costs.ended_usd.values()) == pytest.approx(1 + 2 * 3)  # type: ignore[arg-type]


def test_autoscale_goes_with_its_deployment_and_is_not_looked_for_where_there_was_none(
    ports: Services, endpoint: Endpoint
) -> None:
    first, second = begun(ports, "run-1"), begun(ports, "run-2", max_instances=4)
    endpoint.deployments = [first, second]
    counted(ports)
    assert endpoint.unscaled == []
    endpoint.deployments = []
    claims.take(ports.store, claims.endpoint_claim("shop"), "run-2", ports.clock.now())
    assert counted(ports) == ([second], [first])
    assert endpoint.unscaled == [], "it is about to be created"
    claims.release(ports.store, claims.endpoint_claim("shop"), "run-2")
    endpoint.scaling_fails = True
    assert counted(ports) == ([second], [first]), "it is tried again"
    endpoint.scaling_fails = False
    assert counted(ports) == ([], [first, second])
    assert endpoint.unscaled == [second]


@pytest.mark.parametrize("owner", ["run-1", "an-order", "run-other", None])
def test_a_deployment_that_is_about_to_be_created_is_not_taken_for_gone(
    ports: Services, endpoint: Endpoint, owner: str | None
) -> None:
    name = begun(ports, "run-1")
    if owner:
        claims.take(ports.store, claims.endpoint_claim("shop"), owner, ports.clock.now())
    assert counted(ports) == (([name], []) if owner in ("run-1", "an-order") else ([], [name]))


def test_a_deployment_from_before_there_were_entries_is_counted_from_when_it_is_seen(
    ports: Services, endpoint: Endpoint, champion: Run
) -> None:
    read = runs.read(ports.store, champion.id)
    assert read is not None
    ports.store.batch(champion.id, [runs.replacement(champion, read)])
    name = champion.id.replace("run-", "d-")
    endpoint.deployments = [name, "d-of-nobody"]
    assert counted(ports) == ([name], [])
    (entry,) = serving_costs.read(ports.store, "shop").running
    assert (entry.run, entry.since, entry.usd_per_hour) == (champion.id, ports.clock.now(), 0.0)
