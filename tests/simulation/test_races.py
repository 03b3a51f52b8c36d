"""Two processes at once: one turn, handed over by chance at every call that leaves a process."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run, Status
from shared.ports import ReceivedMessage
from shared.records import policies
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver, drop, prepare
from tests.simulation.invariants import problems
from tests.simulation.world import Call, World

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))]
WAIT_S = 60


class Turns:
    """Only who holds it runs; the seed says who holds it next."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self.rng, self.alive, self.holder = rng, set(range(count)), 0
        self.turns: list[str] = []
        self.changed = threading.Condition()

    def io(self, index: int) -> Callable[[str, Call], object]:
        def call_in_turn(name: str, call: Call) -> object:
            self.wait_for(index)
            self.turns.append(f"{index} {name}")
            try:
                return call()
            finally:
                self.hand_over()

        return call_in_turn

    def wait_for(self, index: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.holder == index, WAIT_S), "the turn was lost"

    def hand_over(self) -> None:
        with self.changed:
            if self.alive:
                self.holder = self.rng.choice(sorted(self.alive))
            self.changed.notify_all()

    def leave(self, index: int) -> None:
        self.alive.discard(index)
        self.hand_over()


def race(world: World, rng: random.Random, *works: Callable[[Callable[[str, Call], object]], None]) -> Turns:
    """Each piece of work in a thread of its own; between two calls only one of them runs."""
    turns = Turns(rng, len(works))
    failures: list[BaseException] = []

    def work(index: int) -> None:
        turns.wait_for(index)
        try:
            works[index](turns.io(index))
        except BaseException as error:
            failures.append(error)
        finally:
            turns.leave(index)

    turns.holder = rng.randrange(len(works))
    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    return turns


def handling(world: World, received: ReceivedMessage) -> Callable[[Callable[[str, Call], object]], None]:
    return lambda io: world.handle(received, io)


def twice(world: World, entity: str) -> list[ReceivedMessage]:
    """The same message, locked by two receivers one after the other."""
    first = waiting_at(world, entity)
    world.bus.abandon(first)  # its lock has ended, and its receiver does not know
    return [first, waiting_at(world, entity)]


def waiting_at(world: World, entity: str) -> ReceivedMessage:
    (received,) = world.receive(entity)
    return received


def the_run(world: World) -> Run:
    (run,) = world.runs()
    return run


ENTITY_BEFORE = {
    Status.RECEIVED: "pipeline/validate_dataset",
    Status.VALIDATED: "pipeline/submit_training",
    Status.TRAINING: "pipeline/submit_evaluation",
    Status.EVALUATING: "pipeline/apply_gate",
    Status.APPROVED: "pipeline/deploy_model",
    Status.DEPLOYING: "pipeline/advance_rollout",
}


def brought_to(world: World, status: Status, rng: random.Random, step: int = 0) -> Driver:
    """A run in `status` whose next event waits, unhandled, at the entity of `ENTITY_BEFORE`."""
    prepare(
        world, "shop", approval="required" if status is Status.AWAITING_APPROVAL else "automatic", rollout="[50, 100]"
    )
    drop(world, "shop", 70)
    world.advance(1)
    driver = Driver(world, rng)
    driver.people = False
    if status in (Status.APPROVED, Status.DEPLOYING):  # the endpoint is there and ready
        world.platform.begin_endpoint("shop", {})
        world.advance(60)
    stop_at = ENTITY_BEFORE.get(status)
    for _ in range(1000):
        for entity in world.entities:
            if _is_there(world, status, step):
                if stop_at is None or world.bus.depth(stop_at):
                    return driver
                if entity == stop_at:
                    continue
            for received in world.receive(entity, 1):
                world.handle(received)
        if _is_there(world, status, step) and stop_at and world.bus.depth(stop_at):
            return driver
        world.tick("probe_deployments")
        world.advance(driver.pause_s())
    raise AssertionError(driver.describe())


def _is_there(world: World, status: Status, step: int) -> bool:
    return any(r.status is status and (r.rollout is None or r.rollout.step == step) for r in world.runs())


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", ENTITY_BEFORE, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_two_handlers_of_the_same_event_move_the_run_once(
    seed: int, status: Status, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    driver = brought_to(world, status, rng)
    revision = the_run(world).revision
    race(world, rng, *(handling(world, received) for received in twice(world, ENTITY_BEFORE[status])))
    assert the_run(world).revision == revision + 1
    driver.settle()
    assert the_run(world).status is Status.DEPLOYED
    assert problems(world) == []


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", ENTITY_BEFORE, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cancel_against_the_next_step_leaves_one_end_and_nothing_behind(
    seed: int, status: Status, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    driver = brought_to(world, status, rng)
    driver.cancel(the_run(world))
    race(
        world,
        rng,
        handling(world, waiting_at(world, ENTITY_BEFORE[status])),
        handling(world, waiting_at(world, "pipeline/cancel_run")),
    )
    driver.settle()
    assert the_run(world).status in (Status.CANCELLED, Status.ROLLED_BACK)
    assert problems(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cancel_against_the_promotion_leaves_one_of_the_two(
    seed: int, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    driver = brought_to(world, Status.DEPLOYING, rng, step=1)
    for stale in world.receive("pipeline/advance_rollout", 100):
        world.bus.complete(stale)
    world.advance(50)  # the last shift is seen: what comes next is the promotion
    world.tick("probe_deployments")
    driver.cancel(the_run(world))
    race(
        world,
        rng,
        handling(world, waiting_at(world, "pipeline/advance_rollout")),
        handling(world, waiting_at(world, "pipeline/cancel_run")),
    )
    driver.settle()
    assert the_run(world).status in (Status.DEPLOYED, Status.ROLLED_BACK)
    assert problems(world) == []


def one_person_decides(world: World) -> None:
    policy = PlatformPolicy(approvers_if_unknown=1)
    policies.apply(world.store, policy, 0, "root", "root", world.clock.now())


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_decision_against_its_expiry_is_one_decision(
    seed: int, granted: bool, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    driver = brought_to(world, Status.AWAITING_APPROVAL, rng)
    run = the_run(world)
    assert run.deadline_at is not None
    one_person_decides(world)
    driver.approve(run, granted)
    decision = waiting_at(world, "pipeline/record_decision")
    world.bus.abandon(decision)
    world.advance((run.deadline_at - world.clock.now()).total_seconds() + 1)
    world.tick("reconcile")
    both = world.receive("pipeline/record_decision", 2)
    assert len(both) == 2
    race(world, rng, *(handling(world, received) for received in both))
    decided = the_run(world)
    assert decided.revision == run.revision + 1
    assert decided.decision is not None
    driver.settle()
    assert the_run(world).status is (Status.DEPLOYED if decided.decision.granted else Status.DECLINED)
    assert problems(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_two_deployments_on_one_endpoint_go_one_after_the_other(
    seed: int, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    prepare(world, "shop", approval="required")
    for index, percent in enumerate((60, 70)):
        drop(world, "shop", percent, index)
    world.advance(1)
    driver = Driver(world, rng)
    driver.people = False
    for _ in range(400):
        runs = world.runs()
        if len(runs) == 2 and all(run.status is Status.AWAITING_APPROVAL for run in runs):
            break
        driver.round()
        world.advance(driver.pause_s())
    world.platform.begin_endpoint("shop", {})
    world.advance(60)
    one_person_decides(world)
    for run in world.runs():
        driver.approve(run, True)
    for received in world.receive("pipeline/record_decision", 2):
        world.handle(received)
    both = world.receive("pipeline/deploy_model", 2)
    assert len(both) == 2
    race(world, rng, *(handling(world, received) for received in both))
    assert [run.status for run in world.runs()].count(Status.DEPLOYING) == 1
    driver.people = True
    driver.approve = lambda run, granted: Driver.approve(driver, run, True)  # type: ignore[method-assign]
    driver.settle()
    assert problems(world) == []
    assert world.runs()[-1].status in (Status.DEPLOYED, Status.DECLINED)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_events_of_one_blob_and_two_timers_make_one_run(
    seed: int, make_world: MakeWorld, rng: random.Random
) -> None:
    world = make_world(seed)
    prepare(world, "shop")
    path = drop(world, "shop", 70)
    world.advance(1)
    first, second = twice(world, "storage-events")
    race(
        world,
        rng,
        handling(world, first),
        handling(world, second),
        lambda io: world.tick("reconcile", io),
    )
    assert the_run(world).dataset.path == path
    Driver(world, rng).settle()
    assert the_run(world).status is Status.DEPLOYED
    assert problems(world) == []
