"""What deployments cost, by month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.domain.endpoint import MAX_ENDED, MAX_MONTHS, ServedDeployment, ServingCosts, served, total
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Deployment, Recipe
from shared.domain.run import Run
from shared.ports import Services
from shared.runner import Runner
from tests.unit.shared.support import drop

NOW = datetime(2026, 11, 30, 22, tzinfo=UTC)
NONE = ServingCosts(endpoint="shop")


def entry(name: str, since: datetime = NOW, usd: float | None = 2.0) -> ServedDeployment:
    return ServedDeployment(
        deployment=name, run=f"run-{name}", instance_type="size", instances=1, usd_per_hour=usd, since=since
    )


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def with_machine(run: Run, size: str, instances: int = 1) -> Run:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(instances=instances))
    resolved = resolve(recipe, "shop", train_rows=100, characters_max=100)
    return run.evolve(recipe=resolved.model_copy(update={"serving_instance_type": size}))


@pytest.mark.parametrize(
    ("size", "instances", "usd"),
    [
        ("Local_CPU", 1, 0.0),
        ("Standard_NC24ads_A100_v4", 1, 3.67),
        ("Standard_NC24ads_A100_v4", 3, pytest.approx(11.01)),
        ("Standard_of_another_year", 2, None),
    ],
)
def test_a_deployment_has_the_list_price_of_all_its_machines_and_none_where_it_is_not_known(
    services: Services, runner: Runner, size: str, instances: int, usd: float | None
) -> None:
    created = drop(services, runner)
    assert created is not None
    found = served(with_machine(created, size, instances), NOW)
    assert (found.usd_per_hour, found.instances, found.run, found.until) == (usd, instances, created.id, None)
    assert found.deployment == created.id.replace("run-", "d-")


def test_two_deployments_at_once_cost_what_both_cost() -> None:
    costs = NONE.begun(entry("a")).begun(entry("b", NOW + hours(1), 3.0))
    assert costs.usd_per_hour() == 5.0
    assert costs.usd_of_month(NOW + hours(1.5)) == 1.5 * 2 + 0.5 * 3
    left = costs.left({"b"}, NOW + hours(1.5))
    assert left.usd_per_hour() == 3.0
    assert left.usd_of_month(NOW + hours(1.75)) == 3 + 0.75 * 3
    assert [(one.deployment, one.until) for one in left.ended] == [("a", NOW + hours(1.5))]


def test_machines_cost_for_the_time_that_they_were_there() -> None:
    """One for an hour, three for two, one for one."""
    costs = NONE.begun(entry("a"), entry("b", usd=None))
    for after_h, count in ((1, 3), (3, 1)):
        costs = costs.scaled({"a": count, "b": None}, NOW + hours(after_h))
    assert [(one.instances, one.usd_per_hour, one.since, one.until) for one in costs.ended] == [
        (1, 2.0, NOW, NOW + hours(1)),
        (3, 6.0, NOW + hours(1), NOW + hours(3)),
    ]
    costs = costs.left({"a"}, NOW + hours(3))
    last = next(one for one in costs.running if one.deployment == "a")
    assert (last.instances, last.usd_per_hour, last.since) == (1, 2.0, NOW + hours(3))
    known = NONE.begun(entry("a")).scaled({"a": 3}, NOW + hours(1)).scaled({"a": 1}, NOW + hours(3))
    assert known.left((), NOW + hours(4)).ended_usd == {"2026-11": 8.0, "2026-12": 8.0}
    assert known.scaled({}, NOW) == known.scaled({"a": 0}, NOW) == known.scaled({"a": 1}, NOW) == known


def test_a_number_of_machines_without_a_price_stays_without_one() -> None:
    (scaled,) = NONE.begun(entry("a", usd=None)).scaled({"a": 2}, NOW + hours(1)).running
    assert (scaled.instances, scaled.usd_per_hour) == (2, None)


def test_the_same_deployment_again_counts_from_its_first_time() -> None:
    costs = NONE.begun(entry("a")).begun(entry("a", NOW + hours(1)))
    assert costs.running == (entry("a"),)
    assert costs.without(entry("a", NOW + hours(1))) == costs, "that one was there before"
    assert costs.without(entry("a")) == NONE


def test_months_are_those_of_utc() -> None:
    """Two hours of November, the whole of December, one hour of January."""
    end = datetime(2027, 1, 1, 2, tzinfo=timezone(hours(1)))
    expected = {"2026-11": 4.0, "2026-12": 31 * 24 * 2.0, "2027-01": 2.0}
    assert entry("a").usd_by_month(end) == expected
    assert entry("a", NOW.astimezone(timezone(hours(9)))).usd_by_month(end) == expected
    costs = NONE.begun(entry("a"))
    assert costs.usd_of_month(end) == 2.0
    assert costs.left((), end).ended_usd == expected


def test_a_clock_that_was_set_back_costs_nothing() -> None:
    costs = NONE.begun(entry("a")).left((), NOW - hours(1))
    assert (costs.ended_usd, costs.ended[0].until) == ({}, NOW)


def test_an_unknown_price_makes_the_month_unknown_and_no_other() -> None:
    costs = NONE.begun(entry("a"), entry("b", usd=None))
    assert costs.usd_per_hour() is None
    assert costs.usd_of_month(NOW + hours(1)) is None
    left = costs.left((), NOW + hours(1))
    assert (left.ended_usd, left.usd_of_month(NOW + hours(1))) == ({"2026-11": None}, None)
    assert left.usd_per_hour() == 0.0
    later = NOW + hours(24)
    assert left.begun(entry("c", later)).left((), later + hours(1)).ended_usd == {"2026-11": None, "2026-12": 2.0}
    assert (total([]), total([0.0, 1.0]), total([None, 1.0])) == (0, 1.0, None)


def test_entries_and_months_are_bounded_and_sums_keep_what_falls_out() -> None:
    costs, now = NONE, datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(MAX_ENDED + 5):
        costs = costs.begun(entry(f"d-{number}", now)).left((), now + hours(1))
        now += hours(1)
    assert [one.deployment for one in costs.ended] == [f"d-{number}" for number in range(5, MAX_ENDED + 5)]
    assert costs.usd_of_month(now) == 2.0 * (MAX_ENDED + 5)
    for month in range(MAX_MONTHS):
        costs = costs.begun(entry("later", now)).left((), now + timedelta(days=31 * (month + 1)))
    assert len(costs.ended_usd) == MAX_MONTHS
    assert "2024-01" not in costs.ended_usd
