"""Request units of what the product does to its store are those that docs/explanation/cost-of-state.md states.

The charges are those of that page's sources. What is counted, and how large it is, comes from the code: a run of the
simulation from its file to its deployment, and ticks beside it.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from functions.http.runs import POLL_S
from shared.domain.run import Status
from shared.ports import Stored
from shared.records import runs
from tests.paths import ROOT
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.world import TIMERS, World

PAGE = ROOT / "docs/explanation/cost-of-state.md"
# KB -> request units: https://learn.microsoft.com/azure/cosmos-db/key-value-store-cost
KB, READ, WRITE = (1, 4, 64), (1, 1.3, 10), (5, 7, 48)
QUERY, STRONG = 3, 2
MINUTES_A_MONTH, USD_A_MILLION, USD_A_GB = 30 * 24 * 60, 0.25, 0.25
OF_TIMERS = (*TIMERS, "retrain")
# As infra/modules/app.bicep schedules them.
TICKS_A_MONTH = {
    "reconcile": MINUTES_A_MONTH,
    "probe_deployments": MINUTES_A_MONTH,
    "monitor_endpoints": MINUTES_A_MONTH / 5,
    "retire_deployments": MINUTES_A_MONTH / 10,
    "retrain": MINUTES_A_MONTH / 60,
}


def charge(units: tuple[float, ...], document: Any) -> float:
    return float(np.interp(len(json.dumps(document)) / 1000, KB, units))


def of_query(found: list[Stored]) -> float:
    return STRONG * (QUERY + sum(charge(READ, stored.document) for stored in found))


class Metered(World):
    """Notes the request units of each call of a function, and whether the call moved a run."""

    def _record(self) -> None:
        super()._record()
        self.calls: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
        store, self.spent, self.moved = self.store, 0.0, False
        get, batch, query, list_partition = store.get, store.batch, store.query, store.list_partition

        def metered_get(partition: str, id: str) -> Stored | None:
            found = get(partition, id)
            self.spent += STRONG * charge(READ, found.document if found else None)
            return found

        def metered_batch(partition: str, writes: Any) -> None:
            batch(partition, writes)
            self.spent += sum(charge(WRITE, write.document) for write in writes)
            self.moved |= any(write.id == runs.RUN for write in writes)

        def metered_query(*args: Any, **options: Any) -> tuple[list[Stored], str | None]:
            page = query(*args, **options)
            self.spent += of_query(page[0])
            return page

        def metered_list(partition: str, type: str) -> list[Stored]:
            found = list_partition(partition, type)
            self.spent += of_query(found)
            return found

        store.get, store.batch = metered_get, metered_batch  # type: ignore[method-assign]
        store.query, store.list_partition = metered_query, metered_list  # type: ignore[method-assign]

    def call(self, function: str, argument: Any, io: Any) -> None:
        self.spent, self.moved = 0.0, False
        super().call(function, argument, io)
        self.calls[function].append((self.spent, self.moved))


@pytest.fixture(scope="module")
def stated() -> dict[str, list[float]]:
    """The figures of the page's tables by the first column."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    numbers = ((row[0], [float(cell) for cell in row[1:] if re.fullmatch(r"[\d.]+", cell)]) for row in rows)
    return {name: found for name, found in numbers if found}


@pytest.fixture
def world(make_world: MakeWorld) -> Metered:
    """At rest, after one run that was deployed."""
    world = make_world(1, Metered)
    assert isinstance(world, Metered)
    prepare(world, "shop")
    drop(world, "shop", 70)
    Driver(world, random.Random(0)).settle()
    assert [run.status for run in world.runs()] == [Status.DEPLOYED]
    world.tick("retrain")
    return world


def test_request_units_are_those_of_the_page(world: Metered, stated: dict[str, list[float]]) -> None:
    of_stages = [call for name, calls in world.calls.items() if name not in OF_TIMERS for call in calls]
    moves = [spent for spent, moved in of_stages if moved]
    stored = world.store.get(world.runs()[0].id, runs.RUN)
    assert stored is not None
    read = STRONG * charge(READ, stored.document)
    ticks = {name: world.calls[name][-1][0] for name in OF_TIMERS}
    run = sum(spent for spent, _ in of_stages)
    units = {
        "one transition": sum(moves) / len(moves),
        "one run, from the file to the deployment": run,
        **{f"one tick of `{name}`": spent for name, spent in ticks.items()},
        "`GET /api/runs/{id}`": read,
        "a client that waits with `wait_s`, a second": read / POLL_S,
        "`GET /api/runs?limit=20`": of_query([stored] * 20),
    }
    found = {name: stated[name][0] for name in units}
    assert found == {name: pytest.approx(unit, rel=0.05) for name, unit in units.items()}


@pytest.mark.parametrize(("column", "count"), [(0, 1_000), (1, 100_000)])
def test_a_month_costs_what_the_page_says(
    world: Metered, stated: dict[str, list[float]], column: int, count: int
) -> None:
    each = {name: stated[f"one tick of `{name}`"][0] * times for name, times in TICKS_A_MONTH.items()}
    ticks, transitions = sum(each.values()) / 1e6, stated["one run, from the file to the deployment"][0] * count / 1e6
    with closing(sqlite3.connect(world.folder / "state.db")) as connection:
        [(size,)] = connection.execute("SELECT sum(length(body)) FROM documents")
    stored = size * count / 1e9
    waits = stated["a client that waits with `wait_s`, a second"][0] * MINUTES_A_MONTH * 60 / 1e6
    month = {
        "ticks, million RU": ticks,
        "transitions, million RU": transitions,
        "stored, GB, with events and deliveries of 30 days": stored,
        "USD a month": (ticks + transitions) * USD_A_MILLION + stored * USD_A_GB,
        "one client that always waits, USD more": waits * USD_A_MILLION,
    }
    found = {name: stated[name][column] for name in month}
    assert found == {name: pytest.approx(value, rel=0.08) for name, value in month.items()}
