"""One project floods the platform; another one's run takes at most twice the time that it takes alone."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import Transient
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run
from shared.domain.subscriptions import Subscription
from shared.ports.services import BUSY
from shared.records import policies, runs
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import drop, prepare
from tests.simulation.world import TIMERS, World
from tests.subscriptions import subscribe

SERVERS = 8  # calls at once of a function: `maxConcurrentCalls` of host.json; each function has its own instances
TICK_S = 10
SLOW_S = 10.0  # a receiver that never answers: TIMEOUT_S of shared/clients/targets.py
AT_ONCE = 4  # calls for one project, there
# What a call takes, of the flood: a validation as long as a row that takes a grader's whole time.
CALL_S, VALIDATION_S, BOMB_S = 0.05, 1.0, 5.0


class Receivers:
    """Those of the flood never answer; the notifier's own limit holds."""

    def __init__(self) -> None:
        self.calls, self.delivered, self.took = 0, Counter[str](), CALL_S

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        if subscription.name != "slow":
            self.delivered[event["id"]] += 1
            return 204
        if self.calls >= AT_ONCE:
            raise Transient(BUSY, "calls are in progress")
        self.calls, self.took = self.calls + 1, SLOW_S
        raise Transient("target_unreachable", "no answer")


class Host:
    """Each function handles so many messages at once, and each takes its time."""

    def __init__(self, world: World, servers: int) -> None:
        self.world, self.receivers = world, Receivers()
        world.notifier = self.receivers  # type: ignore[assignment]
        self.free = {entity: [world.clock.now()] * servers for entity in world.entities}

    def tick(self) -> None:
        now = self.world.clock.now()
        end = now + timedelta(seconds=TICK_S)
        self.receivers.calls = 0
        for entity, servers in self.free.items():
            while min(servers) < end and (found := self.world.receive(entity)):
                [received] = found
                first = servers.index(min(servers))
                self.receivers.took = CALL_S
                self.world.handle(received)
                took = self.receivers.took if entity == "deliveries" else CALL_S
                if entity.endswith("validate_dataset"):
                    took = BOMB_S if b"datasets/flood" in received.message.body else VALIDATION_S
                servers[first] = max(servers[first], now) + timedelta(seconds=took)
        for timer in TIMERS:
            self.world.tick(timer)
        self.world.advance(TICK_S)


def duration_s(world: World, servers: int, at_most_s: float) -> float:
    """Of the run of the project `shop`, up to the delivery of its last event."""
    host, begun = Host(world, servers), world.clock.now()
    subscribe(world.store, project="shop", name="quick")
    drop(world, "shop", 70)

    def own() -> Run | None:
        return next(iter(runs.page(world.store, project="shop", limit=1).runs), None)

    while (run := own()) is None or not run.terminal or not is_notified(host):
        host.tick()
        assert world.clock.now() - begun <= timedelta(seconds=at_most_s)
    assert run.status == "deployed"
    return (world.clock.now() - begun).total_seconds()


def is_notified(host: Host) -> bool:
    return any("model.promoted" in message_id for message_id in host.receivers.delivered)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("drops", "servers", "at_once"), [(10_000, SERVERS, 20), (400, 1, 2)])
def test_the_run_of_another_project_takes_at_most_twice_its_time(
    drops: int, servers: int, at_once: int, make_world: MakeWorld
) -> None:
    def duration(flood: int, at_most_s: float) -> float:
        world = make_world(1, channel=False)
        policies.apply(world.store, PlatformPolicy(runs_at_once=at_once), 0, "ada", "ada", world.clock.now())
        prepare(world, "shop")
        if flood:
            prepare(world, "flood")
            subscribe(world.store, project="flood", name="slow")
        for number in range(flood):
            drop(world, "flood", (10, 50, 90)[number % 3], number, count=3 if number % 2 else 12)
        return duration_s(world, servers, at_most_s)

    duration(drops, 2 * duration(0, 3600))
