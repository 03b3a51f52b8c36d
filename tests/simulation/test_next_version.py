"""Hosts of this version and of the next one on one store and one bus; any of them may handle a message or die."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from shared.domain.run import Status
from shared.domain.upgrades import SCHEMA_VERSION
from shared.pipeline import TOPOLOGY
from shared.ports import ReceivedMessage, Services
from shared.records import ticks
from shared.records.runs import RUN
from tests.next_version import NEXT, NextBus, NextStore, older_messages
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import Call, Crash, Io, World, undisturbed

RUNS_OF_A_PROJECT = (70, 10, 80, 50, 90)  # what their models score, in percent
CRASH = 0.004
# What timers remember of their last look: where it is forgotten they look again.
MARKS = (ticks.TICK, ticks.SCAN, ticks.FAILED)


class TwoVersions(World):
    """The world itself speaks the next version, which can read everything."""

    def __init__(self, *arguments: Any, number: int, projects: int, **options: Any) -> None:
        self.number, self.projects, self.next = number, projects, True
        self.rng = random.Random(arguments[1])
        super().__init__(*arguments, **options)

    def _open(self) -> None:
        super()._open()
        self.this_store, self.this_bus = self.store, self.bus
        self._forbid_losses()
        self.store = NextStore(self.folder / "state.db", self.clock)
        self.bus = NextBus(self.folder / "bus.db", TOPOLOGY, self.clock)
        self.store.number = self.bus.number = self.number
        self._record()

    def _forbid_losses(self) -> None:
        """This version writes over no document of a later number, and over no field of one with its own number."""
        batch, get = self.this_store.batch, self.this_store.get

        def checked(partition: str, writes: Any) -> None:
            for write in writes:
                before = get(partition, write.id)
                if before is None or write.kind == "create":
                    continue
                if before.document["schema_version"] == NEXT and write.id not in MARKS:
                    self.book.errors.append(f"{write.id} of {partition} is of the next version and was written over")
                if write.id == RUN and "note" in before.document["run"]:
                    run = write.document["run"]
                    if (write.document.get("note"), run.get("note"), run["dataset"].get("note")) != (
                        1,
                        f"of {partition}",
                        1,
                    ):
                        self.book.errors.append(f"{partition} lost a field that this version does not know")
            batch(partition, writes)

        self.this_store.batch = checked  # type: ignore[method-assign]

    def close(self) -> None:
        super().close()
        self.this_store.close()
        self.this_bus.close()

    def services(self, io: Io = undisturbed) -> Services:
        store, bus = self.store, self.bus
        if not self.next:
            self.store, self.bus = self.this_store, self.this_bus
        # As between any two releases: the images have other versions.
        name = "next" if self.next else "this"
        config = replace(self.config, training_environment=f"training:{name}", serving_environment=f"serving:{name}")
        try:
            return replace(super().services(io), config=config)
        finally:
            self.store, self.bus = store, bus

    def receive(self, entity: str, count: int = 1) -> list[ReceivedMessage]:
        return self.this_bus.receive(entity, max_messages=count, wait_s=0)

    def handle(self, received: ReceivedMessage, io: Io = undisturbed, *, settle: bool = True) -> None:
        self.next = self.rng.random() < 0.5
        super().handle(older_messages([received])[0] if self.next else received, io, settle=settle)

    def tick(self, timer: str, io: Io = undisturbed) -> None:
        self.next = self.rng.random() < 0.5
        super().tick(timer, io)


class Dying:
    """An `io` under which the process dies now and then, before a call or after it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.crashes = rng, 0

    def __call__(self, name: str, call: Call) -> object:
        dies, after = self.rng.random() < CRASH, self.rng.random() < 0.5
        if dies and after:
            with suppress(Exception):
                call()
        if dies:
            self.crashes += 1
            raise Crash(name)
        return call()


@pytest.mark.ci
@pytest.mark.parametrize("number", [pytest.param(SCHEMA_VERSION, marks=pytest.mark.slow), NEXT])
@pytest.mark.parametrize(
    ("seed", "projects"), [(0, 2), *(pytest.param(seed, 10, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_runs_end_as_foreseen_though_either_version_may_handle_a_message_and_both_die(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture, seed: int, projects: int, number: int
) -> None:
    world = make_world(seed, TwoVersions, number=number, projects=projects, channel=True)
    io = Dying(random.Random(seed))
    driver = Driver(world, random.Random(seed), io)
    driver.people = False
    for project in range(projects):
        prepare(world, f"shop-{project}", rollout="[50, 100]")
        for index, percent in enumerate(RUNS_OF_A_PROJECT):
            drop(world, f"shop-{project}", percent, index)
    for _ in range(300 * projects):
        try:
            driver.step()
        except Crash:
            driver.held.clear()
            world.restart()
    driver.io = undisturbed
    driver.settle()
    statuses = [run.status for run in world.runs()]
    print(f"{io.crashes} crashes, {world.book.handled} messages handled, {statuses.count(Status.DEPLOYED)} deployed")
    assert problems(world) == []
    assert len(statuses) == len(RUNS_OF_A_PROJECT) * projects
    assert set(statuses) <= {Status.DEPLOYED, Status.DECLINED}
    assert io.crashes > projects
    assert not list((world.folder / "blobs").glob("quarantine/*"))
    assert ("later_version" in caplog.text) is (number == NEXT)
