"""Who decides what happens next: by a seed while it is rough, in plain order until everything has come to rest."""

from __future__ import annotations

import random

import orjson

from shared.domain.errors import Transient
from shared.domain.events import ApprovalDenied, ApprovalGranted, CancelRequested, RollbackRequested
from shared.domain.run import Run, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import ReceivedMessage
from shared.records import claims, endpoints, policies
from shared.step_support.candidate import approvals_missing, candidate_sha256
from shared.step_support.outcome import Draft
from tests.azure_events import blob_created
from tests.simulation.world import TIMERS, Call, Io, World, undisturbed

QUIET_ROUNDS = 62
ROUND_S = 7
MOST_ROUNDS = 1500
# Locked messages at once: a client that locks more than it can handle loses its locks, and they end as dead letters.
MAX_HELD = 20


def rows(name: str, count: int) -> bytes:
    """Chat rows that no other file has."""
    return b"".join(
        orjson.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"What is part {n} of {name}?"},
                    {"role": "assistant", "content": f"{name} has bolt {n}."},
                ]
            }
        )
        + b"\n"
        for n in range(count)
    )


def prepare(world: World, project: str, *, approval: str = "automatic", rollout: str = "[10, 50, 100]") -> None:
    """A project's recipe and held-out set."""
    recipe = (
        "base_model: droptune/tiny-llama\n"
        "evaluation: {gate: {min_rows: 2}}\n"
        f"deployment: {{approval: {approval}, rollout: {rollout}}}\n"
    )
    world.blobs.write(f"datasets/{project}/recipe.yaml", [recipe.encode()])
    world.blobs.write(f"datasets/{project}/eval.jsonl", [rows(f"{project} held out", 6)])


def drop(world: World, project: str, percent: int, index: int = 0, *, count: int = 12, received: bool = True) -> str:
    """Drop a dataset whose model will score `percent`; its event may be lost."""
    path = f"datasets/{project}/train-{percent}-{index}.jsonl"
    info = world.blobs.write(path, [rows(path, count)])
    if received:
        world.send(STORAGE_EVENTS, blob_created(path, info.etag))
    return path


class UnreliableIo:
    """An `io` under which outside services do not answer now and then, having done what was asked or not."""

    def __init__(self, rng: random.Random, chance: float) -> None:
        self.rng, self.chance = rng, chance

    def __call__(self, name: str, call: Call) -> object:
        outcome = self.rng.random()
        if outcome < self.chance / 2:
            raise Transient("unanswered", f"{name} was not done")
        result = call()
        if outcome < self.chance and name.split(".")[1] not in ("receive", "read", "list"):
            raise Transient("unanswered", f"{name} was done, and the answer was lost")
        return result


class Driver:
    def __init__(self, world: World, rng: random.Random, io: Io = undisturbed) -> None:
        self.world, self.rng, self.io = world, rng, io
        self.held: list[ReceivedMessage] = []
        self.people = True

    # In disorder

    def step(self, *, repeats: float = 0.0) -> None:
        """One thing that may happen now."""
        chance = self.rng.random()
        if chance < 0.70:
            self._deliver(repeats)
        elif chance < 0.85:
            self.world.tick(self.rng.choice(TIMERS), self.io)
        else:
            self.world.advance(self.rng.choice((0.5, 1, 2, 5, 20)))
        if self.people:
            self._decide()

    def _deliver(self, repeats: float) -> None:
        """Lock a few messages of one entity, then handle any that is locked: order means nothing."""
        for entity in self.rng.sample(self.world.entities, len(self.world.entities)):
            found = self.world.receive(entity, self.rng.choice((1, 1, 2, 3))) if len(self.held) < MAX_HELD else []
            if found:
                self.held += found
                break
        if self.held:
            received = self.held.pop(self.rng.randrange(len(self.held)))
            self.world.handle(received, self.io, settle=self.rng.random() >= repeats)

    def _decide(self) -> None:
        for run in self.world.runs():
            if run.status is Status.AWAITING_APPROVAL and self.rng.random() < 0.05:
                self.approve(run, self.rng.random() < 0.7)

    def approve(self, run: Run, granted: bool) -> None:
        if not granted:
            self.world.publish(run, Draft(ApprovalDenied(by="a person", by_as=("approver",))))
            return
        candidate = candidate_sha256(run)
        for name in ("ada", "grace")[: approvals_missing(run, policies.read(self.world.store).policy)]:
            self.world.publish(
                run, Draft(ApprovalGranted(by=name, by_id=name, by_as=("approver",), candidate=candidate), key=name)
            )

    def cancel(self, run: Run) -> None:
        self.world.publish(run, Draft(CancelRequested(by="a person")))

    def roll_back(self, endpoint: str) -> bool:
        """Ask for the previous deployment, if there is one."""
        record = endpoints.read(self.world.store, endpoint)
        if record is None or record.previous is None:
            return False
        leave, to = record.deployment, record.previous.deployment
        request = RollbackRequested(endpoint=endpoint, deployment=leave, to=to, by="a person")
        key = f"{self.world.clock.now().timestamp():.0f}"
        self.world.publish(self.world.run(record.champion), Draft(request, key=key))
        return True

    # In order

    def drain(self) -> int:
        """Handle what waits, until nothing does."""
        handled = 0
        while True:
            before = handled
            for entity in self.world.entities:
                for received in self.world.receive(entity, 20):
                    self.world.handle(received, self.io)
                    handled += 1
            if handled == before:
                return handled
            assert handled < 5000, f"messages without end: {self.world.waiting()}"

    def round(self) -> None:
        self.drain()
        for timer in TIMERS:
            self.world.tick(timer, self.io)
        self.drain()

    def settle(self) -> None:
        """Continue in order until all is at rest; when nothing moves for long, let the hours pass."""
        self.held.clear()
        quiet, seen = 0, -1
        for _ in range(MOST_ROUNDS):
            self.round()
            if self.people:
                self._decide()
            if self.at_rest() and self._stays_at_rest():
                return
            revisions = sum(run.revision for run in self.world.runs())
            quiet = 0 if revisions != seen else quiet + 1
            seen = revisions
            self.world.advance(self.pause_s(quiet))
        raise AssertionError(f"no rest: {self.describe()}")

    def _stays_at_rest(self) -> bool:
        """What the timers still have to find, they find now."""
        for _ in range(3):
            self.world.advance(61)
            self.round()
        return self.at_rest()

    def pause_s(self, quiet: int = 0) -> float:
        """Until the platform has news, if nothing else is to come; else a moment, or an hour."""
        due = self.world.platform.next_due()
        if due is not None and not self.world.waiting():
            return (due - self.world.clock.now()).total_seconds()
        return ROUND_S if quiet < QUIET_ROUNDS else 3600

    def at_rest(self) -> bool:
        world = self.world
        owners = [claim for claim in world.documents(claims.CLAIM) if claim["kind"] not in ("dataset", "attempt")]
        return all(run.terminal for run in world.runs()) and not owners and not world.waiting()

    def describe(self) -> str:
        runs = [f"{run.dataset.path} {run.status} r{run.revision}" for run in self.world.runs()]
        kept = [claim["name"] for claim in self.world.documents(claims.CLAIM)]
        return f"{runs}, claims {kept}, waiting {self.world.waiting()}, errors {self.world.book.errors[:3]}"
