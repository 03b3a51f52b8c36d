"""What must hold in a stack at rest, whatever happened before: read from its files and its Azure ML emulator."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from typing import Any

from shared.domain.errors import LaterVersion
from shared.domain.run import Run
from shared.domain.topology import TOPIC
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.pipeline import TOPOLOGY
from shared.ports import Stored
from shared.records import runs
from shared.records.document import pages
from shared.records.outbox import OUTBOX
from shared.records.unreadable import QUARANTINE, unreadable
from tests.receiver import Receiver
from tests.simulation.invariants import history_problems
from tests.stack.local import FINAL_JOB, LocalStack

PROMOTED = "droptune.model.promoted.v1"


SETTINGS = {"NOTIFY_PRIVATE_HOSTS": "127.0.0.1"}


def subscribe(local: LocalStack, receiver: Receiver) -> dict[str, Any]:
    """Every event of every run goes to the receiver from now on. What the API answers; the stack has SETTINGS."""
    target = {"type": "webhook", "url": receiver.url}
    return local.post("/api/subscriptions", name="ledger", target=target, events=["*"])


def documents(local: LocalStack, type: str, **equals: str | int) -> list[dict[str, Any]]:
    """Straight from the store, so that no host need live."""
    with closing(SqliteRunStore(local.root / "state.db", SystemClock())) as store:
        return [stored.document for stored in pages(store, type, equals)]


def all_runs(local: LocalStack) -> list[Run]:
    found = documents(local, runs.RUN)
    return [runs.run_of(Stored(document, "", document["run_id"])) for document in found]


def depths(local: LocalStack, suffix: str = "") -> dict[str, int]:
    """Messages at rest in each entity that has some; `suffix` for its dead letters."""
    entities = [*TOPOLOGY.queues, *(f"{TOPIC}/{subscription.name}" for subscription in TOPOLOGY.topics[TOPIC])]
    with local.bus() as bus:
        return {entity: count for entity in entities if (count := bus.depth(entity + suffix))}


def _first_dead_letter(local: LocalStack, entity: str) -> str:
    with local.bus() as bus:
        [first] = bus.peek(f"{entity}/$deadletterqueue", limit=1)
    return f"{first.message.id}: {first.dead_letter_reason}, {first.dead_letter_description}"


def at_rest(local: LocalStack) -> bool:
    """Every run has ended, no message is to be sent or received any more, and nothing is claimed for a run."""
    return (
        all(run.terminal for run in all_runs(local))
        and not documents(local, OUTBOX, sent=0)
        and not depths(local)
        and not local.claims(settled=0)
    )


def problems(local: LocalStack, receiver: Receiver | None) -> list[str]:
    """Everything that is lost, doubled or set aside, in words; `receiver` got every event, unless nobody subscribed."""
    runs = all_runs(local)
    received = {str(json.loads(body)["id"]) for _, body in receiver.got} if receiver else None
    found = [problem for run in runs for problem in history_problems(run)]
    return found + _jobs(local, runs) + _events(local, runs, received) + _deployments(local, runs) + _set_aside(local)


def _set_aside(local: LocalStack) -> list[str]:
    """Documents that no version can read, and messages in quarantine."""
    clock = SystemClock()
    with closing(SqliteRunStore(local.root / "state.db", clock)) as store:
        found = [one for one in unreadable(store, clock.now()) if not one.problem.startswith(LaterVersion.__name__)]
    kept = (local.root / "blobs" / QUARANTINE).glob("*")
    named = (f"{one.type} {one.id} of {one.partition} is unreadable: {one.problem}" for one in found)
    return [*named, *(f"{path.name} is in quarantine" for path in kept)]


def _jobs(local: LocalStack, runs: list[Run]) -> list[str]:
    """One job per stage and attempt, each known to its run and ended.

    A host that died between submitting a job and noting it leaves one that no run knows, if somebody cancels the run
    before the event comes again. Then that job was cancelled with it.
    """
    jobs = {job["name"]: job["status"] for job in local.jobs()}
    cancelled = {run.id for run in runs if run.status == "cancelled"}
    known = Counter(reference.name for run in runs for reference in run.jobs)
    places = Counter((run.id, reference.kind, reference.attempt) for run in runs for reference in run.jobs)
    return [
        *(f"{name} is noted {count} times" for name, count in known.items() if count > 1),
        *(f"{place} has {count} jobs" for place, count in places.items() if count > 1),
        *(
            f"no run knows {name}, which is {jobs[name]}"
            for name in jobs.keys() - known.keys()
            if jobs[name] != "Canceled" or name.rsplit("-", 2)[0] not in cancelled
        ),
        *(f"{name} is still {status}" for name, status in jobs.items() if status not in FINAL_JOB),
    ]


def _events(local: LocalStack, runs: list[Run], received: set[str] | None) -> list[str]:
    """Every fact in an outbox was published and received, and a model is promoted once at most."""
    outbox = documents(local, OUTBOX)
    # Copies of an event for another try have the id of the event itself in their body.
    facts = [entry for entry in outbox if entry["destination"] == TOPIC and "~" not in entry["message_id"]]
    promotions = Counter(entry["run_id"] for entry in facts if entry["subject"] == PROMOTED)
    return [
        *(f"{entry['message_id']} was never sent" for entry in outbox if not entry["sent"]),
        *(
            f"{entry['message_id']} was never received"
            for entry in facts
            if received is not None and entry["message_id"] not in received
        ),
        *(
            f"{run.id} is {run.status} and was promoted {promotions[run.id]} times"
            for run in runs
            if promotions[run.id] != (run.status == "deployed")
        ),
        *(f"{count} messages are left at {entity}" for entity, count in depths(local).items()),
        *(
            f"{count} dead letters at {entity}, as {_first_dead_letter(local, entity)}"
            for entity, count in depths(local, "/$deadletterqueue").items()
        ),
    ]


def _deployments(local: LocalStack, runs: list[Run]) -> list[str]:
    """What serves is what runs have deployed, with all the traffic on the newest of an endpoint."""
    rolled_out = {run.rollout.endpoint for run in runs if run.rollout}
    live = {(run.rollout.endpoint, run.rollout.deployment) for run in runs if run.rollout and run.status == "deployed"}
    there = {(endpoint, name) for endpoint in rolled_out for name in local.deployments(endpoint)}
    return [f"{name} is left at {endpoint}" for endpoint, name in there - live]
