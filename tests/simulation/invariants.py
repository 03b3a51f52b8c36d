"""What must hold at rest, whatever happened before."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from shared.domain.run import TERMINAL, Run, Status
from shared.pipeline import STAGES
from shared.records import claims, endpoints
from shared.records.budget import BUDGET
from shared.records.outbox import OUTBOX
from shared.steps.fail_run import RELEASING
from tests.simulation.world import World

# A job that ran on for longer than this after its run had ended was forgotten.
CANCEL_DELAY = timedelta(seconds=400)
# A person gave the traffic back to the previous deployment.
ROLLED_BACK_LATER = (Status.DEPLOYED, Status.DEPLOYED)
CREATING = "Microsoft.Storage.BlobCreated"


def problems(world: World) -> list[str]:
    """Everything that is wrong, in words; empty if all is well."""
    runs = world.runs()
    found = [*world.book.errors, *world.platform.broken]
    for run in runs:
        found += history_problems(run)
    found += _events(world, runs)
    found += _jobs(world, runs)
    found += _deployments(world, runs)
    found += _autoscale(world)
    found += _claims(world, runs)
    found += _budget(world, runs)
    return found


def history_problems(run: Run) -> list[str]:
    """Of a run at rest: moved once by each cause, along the pipeline, never on from its end."""
    found = []
    if not run.terminal:
        found.append(f"{run.id} is still {run.status}")
    if run.revision != len(run.history):
        found.append(f"{run.id} has revision {run.revision} and {len(run.history)} transitions")
    causes = Counter(line.event_id for line in run.history)
    found += [f"{run.id} was moved {count} times by {cause}" for cause, count in causes.items() if count > 1]
    for before, line in zip(run.history, run.history[1:], strict=False):
        movers = [s for s in STAGES if line.event_type in {e.wire_type for e in s.wakes} and s.moves]
        if not any((before.status, line.status) in s.moves for s in movers):
            found.append(f"{run.id} went {before.status} -> {line.status} by {line.event_type}")
    moves = zip(run.history, run.history[1:], strict=False)
    ends = [(a.status, b.status) for a, b in moves if a.status in TERMINAL]
    found += [f"{run.id} went on after {end} to {after}" for end, after in ends if (end, after) != ROLLED_BACK_LATER]
    return found


def _events(world: World, runs: list[Run]) -> list[str]:
    book = world.book
    found = [f"{id} is in an outbox and was never sent" for id in book.stated if not book.sent[id]]
    found += [f"{d['message_id']} is not marked as sent" for d in world.documents(OUTBOX) if not d["sent"]]
    found += [f"{count} messages are left at {entity}" for entity, count in world.waiting().items()]
    found += [f"{count} dead letters at {entity}" for entity, count in world.dead_letters().items()]
    by_run = {run.id: run for run in runs}
    for id, entry in book.stated.items():
        run = by_run[entry["run_id"]]
        if not 1 <= entry["revision"] <= run.revision:
            found.append(f"{id} is of revision {entry['revision']} of {run.revision}")
    facts = Counter(
        (entry["run_id"], entry["subject"]) for id, entry in book.stated.items() if "~" not in id and "@" not in id
    )
    for run in runs:
        promotions = int(run.status is Status.DEPLOYED)
        if facts[run.id, "droptune.model.promoted.v1"] != promotions:
            found.append(f"{run.id} is {run.status} and promoted {facts[run.id, 'droptune.model.promoted.v1']} times")
    return found


def _jobs(world: World, runs: list[Run]) -> list[str]:
    found = []
    by_run = {run.id: run for run in runs}
    for run in runs:
        places = Counter((job.kind, job.attempt) for job in run.jobs)
        found += [f"{run.id} has {count} jobs for {place}" for place, count in places.items() if count > 1]
        found += [
            f"{run.id} has a job {job.name} that never was" for job in run.jobs if job.name not in world.platform.jobs
        ]
    for name, job in world.platform.jobs.items():
        run = by_run[job.run_id]
        if job.stops_at is None and job.ends_at > run.updated_at + CANCEL_DELAY:
            found.append(
                f"{name} ran until {job.ends_at:%H:%M:%S}; its run was {run.status} at {run.updated_at:%H:%M:%S}"
            )
    found += [f"{name} still lives" for name in world.platform.live_jobs]
    return found


def unknown_jobs(world: World) -> list[str]:
    """Jobs no run knows of: money spent on nothing, if they ran."""
    known = {job.name for run in world.runs() for job in run.jobs}
    return sorted(world.platform.jobs.keys() - known)


def _deployments(world: World, runs: list[Run]) -> list[str]:
    created = Counter(world.platform.created)
    found = [f"{name} was created {count} times" for name, count in created.items() if count > 1]
    by_run = {run.id: run for run in runs}
    for name, endpoint in world.platform.endpoints.items():
        record = endpoints.read(world.store, name)
        if record is None:
            found += [f"{deployment} is left on {name}, which has no record" for deployment in endpoint.deployments]
            if endpoint.traffic:
                found.append(f"{name} has traffic {endpoint.traffic} and no record")
            continue
        if by_run[record.champion].status is not Status.DEPLOYED:
            found.append(f"the record of {name} names {record.champion}, which is {by_run[record.champion].status}")
        if record.stopped is not None:
            if endpoint.traffic or endpoint.deployments:
                found.append(f"{name} is stopped and has {endpoint.traffic} and {sorted(endpoint.deployments)}")
            continue
        if endpoint.traffic != {record.deployment: 100}:
            found.append(f"the traffic of {name} is {endpoint.traffic}, the record says {record.deployment}")
        kept = {record.deployment} | ({record.previous.deployment} if record.previous else set())
        found += [f"{stray} is left on {name}" for stray in sorted(endpoint.deployments.keys() - kept)]
        found += [f"{gone} is recorded for {name} and deleted" for gone in sorted(kept - endpoint.deployments.keys())]
    return found


def _autoscale(world: World) -> list[str]:
    """It is there for each deployment that answers and may scale, and for none that is gone."""
    there = {(name, key): one for name, at in world.platform.endpoints.items() for key, one in at.deployments.items()}
    found = [f"the autoscale of {key} of {name} is left" for name, key in world.platform.autoscaled - there.keys()]
    for (name, key), one in there.items():
        if one.spec.max_instances and world.platform.endpoints[name].traffic.get(key):
            found += [] if (name, key) in world.platform.autoscaled else [f"{key} of {name} does not scale"]
    return found


def _claims(world: World, runs: list[Run]) -> list[str]:
    """Decision 0001: a dataset's claim outlives its run if the run's end says something about the data."""
    found = []
    by_run = {run.id: run for run in runs}
    for claim in world.documents(claims.CLAIM):
        owner = by_run.get(claim["owner"])
        if claim["kind"] == "attempt":
            number = int(claim["name"].rpartition(":")[2])
            if owner and owner.held_out_attempt not in (None, number):  # None: a crash, or its end, came between
                found.append(f"{claim['name']} is held by {owner.id}, whose attempt is {owner.held_out_attempt}")
        elif owner is None:
            found.append(f"{claim['name']} is held by {claim['owner']}, which does not exist")
        elif claim["kind"] != "dataset" or owner.status in RELEASING:
            found.append(f"{claim['name']} is held by {owner.id}, which is {owner.status}")
    held = {claim["name"] for claim in world.documents(claims.CLAIM)}
    for run in runs:
        if run.curated and run.held_out_attempt:  # an earlier version's have none
            name = claims.attempt_claim(run.project, run.curated.held_out, run.held_out_attempt)
            found += [] if name in held else [f"{run.id} was evaluated, and {name} is not counted"]
    for run in runs:
        name = claims.dataset_claim(run.project, run.dataset.sha256, run.fingerprint)
        is_over = run.status in (Status.DECLINED, Status.REJECTED)
        if run.status is Status.DEPLOYED and run.recipe is not None:  # else its endpoint was deleted
            is_over = endpoints.read(world.store, run.recipe.endpoint) is not None
        if is_over and name not in held:
            found.append(f"{run.id} is {run.status} and its dataset may come again")
        if run.status is Status.DUPLICATE and run.duplicate_of not in by_run:
            found.append(f"{run.id} is a duplicate of {run.duplicate_of}, which does not exist")
    return found


def _budget(world: World, runs: list[Run]) -> list[str]:
    entries = {run_id: usd for document in world.documents(BUDGET) for run_id, usd in document["usd"].items()}
    found = []
    for run in runs:
        spent = (run.cost.actual_usd or 0.0) if run.cost else 0.0
        if run.terminal and entries.get(run.id, spent) != spent:
            found.append(f"{run.id} is {run.status}, spent {spent} and has {entries[run.id]} reserved")
    return found
