"""N items for each loop of a timer, and ways to break one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, StoreConflict, Transient
from shared.domain.jobs import DeploymentState, DeploymentView, EndpointView, JobKind
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Retrain
from shared.domain.run import JobRef, RolloutRef, Run, Status
from shared.ports import Message, Services, Write
from shared.records import claims, endpoints, outbox, runs
from shared.records.outbox import Outgoing
from shared.runner import Runner
from tests.unit.functions.http.support import enter
from tests.unit.shared.support import CURATED, ROW, drop, take

DAY = 24 * 3600


class Platform:
    """Each project has an endpoint of its name with a deployment in production and one left over."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    def get_endpoint(self, name: str) -> EndpointView:
        return EndpointView(name=name, scoring_uri="http://x/", traffic={"d-new": 100}, deployments=("d-new", "d-left"))

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        if name not in ("d-new", "d-left"):
            return None
        return DeploymentView(name=name, state=DeploymentState.FAILED, error_code="OutOfQuota")

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.deleted.add(endpoint)

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        pass

    def begin_cancel(self, name: str) -> None:
        pass


class Cable:
    """The real port; calls that name the victim meet what the test wants."""

    def __init__(self, port: Any, victim: str, meets: Callable[[], object]) -> None:
        self._port, self._victim, self._meets = port, victim, meets

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._victim in repr((args, kwargs)):
                self._meets()
            return method(*args, **kwargs)

        return call


@dataclass(frozen=True)
class Loop:
    """`prepare` makes an item of a dropped run; `reached` says at which projects the timer did its work."""

    timer: str
    prepare: Callable[[Services, Run], object]
    reached: Callable[[Services, list[Run]], set[str]]
    later_s: float = 0.0


def project(number: int) -> str:
    return f"project{number}"


def planned(services: Services, run: Run, status: Status, **changes: Any) -> Run:
    recipe = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=1))
    return enter(
        services, run, status, recipe=resolve(recipe, run.project, train_rows=100, characters_max=100), **changes
    )


def in_training(services: Services, run: Run) -> None:
    job = JobRef(name=f"{run.id}-training-1", kind=JobKind.TRAINING, attempt=1, submitted_at=run.created_at)
    planned(services, run, Status.TRAINING, jobs=(job,))


def in_rollout(services: Services, run: Run) -> None:
    rollout = RolloutRef(endpoint=run.project, deployment="d-new", model="m:1", previous={}, traffic={}, step=0)
    planned(services, run, Status.DEPLOYING, rollout=rollout, curated=CURATED)


def in_production(services: Services, run: Run) -> None:
    planned(services, run, Status.DEPLOYED)
    record = EndpointRecord(
        endpoint=run.project,
        project=run.project,
        champion=run.id,
        deployment="d-new",
        model="m:1",
        scoring_uri="http://x/",
        promoted_at=services.clock.now(),
    )
    endpoints.write(services.store, record, replacing=None)


def with_unsent(services: Services, run: Run) -> None:
    message = Message(f"m-{run.project}", "a subject", orjson.dumps({"source": f"/projects/{run.project}"}))
    services.store.batch(run.id, [outbox.creation(Outgoing("deliveries", message), run, services.clock.now())])


def claimed_at_its_end(services: Services, run: Run) -> None:
    planned(services, run, Status.FAILED)  # which gives its data back: take it again, as a crash would leave it
    claims.take(services.store, f"dataset:{run.project}:left", run.id, services.clock.now())
    claims.take(services.store, claims.endpoint_claim(run.project), run.id, services.clock.now())


def waiting_for_turn(services: Services, run: Run) -> None:
    planned(services, run, Status.TRAINED)


def without_run(services: Services, run: Run) -> None:
    services.store.batch(run.id, [Write("delete", runs.RUN)])


def reported_at(entity: str) -> Callable[[Services, list[Run]], set[str]]:
    """Projects, or projects of runs, that messages at an entity are about."""

    def reached(services: Services, found: list[Run]) -> set[str]:
        text = b"\n".join(received.message.body for received in take(services, entity)).decode()
        return {run.project for run in found if f"/{run.project}" in text or run.id in text}

    return reached


def freed(services: Services, found: list[Run]) -> set[str]:
    held = {claim.owner for claim in claims.unsettled(services.store) if claim.kind == "endpoint"}
    return {run.project for run in found if run.id not in held}


def deleted(services: Services, found: list[Run]) -> set[str]:
    return set(services.models.deleted)  # type: ignore[attr-defined]


LOOPS = {
    "unsent": Loop("reconcile", with_unsent, reported_at("deliveries"), 6),
    "silent jobs": Loop("reconcile", in_training, reported_at("job-events"), 3600),
    "missed blobs": Loop("reconcile", without_run, reported_at("storage-events"), 300),
    "overdue": Loop("reconcile", in_training, reported_at("pipeline/fail_run"), 30 * DAY),
    "next evaluations": Loop("reconcile", waiting_for_turn, reported_at("pipeline/submit_evaluation"), 6),
    "claims": Loop("reconcile", claimed_at_its_end, freed, 6),
    "probes": Loop("probe_deployments", in_rollout, reported_at("pipeline/advance_rollout")),
    "retire": Loop("retire_deployments", in_production, deleted),
    "retrain": Loop("retrain", in_production, reported_at("storage-events"), 2 * DAY),
}


def populate(services: Services, loop: Loop, count: int) -> list[Run]:
    found = []
    for number in range(count):
        row = ROW.replace(b"a", b"of %d" % number)
        run = drop(services, Runner(services), f"datasets/{project(number)}/train.jsonl", row)
        assert run is not None
        loop.prepare(services, run)
        found.append(run)
    stages = ("fail_run", "advance_rollout", "submit_evaluation")
    for entity in ("storage-events", "job-events", "deliveries", *(f"pipeline/{stage}" for stage in stages)):
        take(services, entity)
    return found


# Ways to break an item


def documents_of(services: Services, run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    """Of all partitions that are about it, by partition and id."""
    partitions = (run.id, claims.endpoint_claim(run.project), f"dataset:{run.project}:left")
    kinds = (runs.RUN, outbox.OUTBOX, claims.CLAIM, endpoints.RECORD)
    listed = [
        (p, found.document) for p in partitions for kind in kinds for found in services.store.list_partition(p, kind)
    ]
    return {(partition, document["id"]): document for partition, document in listed}


def rewrite(services: Services, run: Run, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for (partition, id), document in documents_of(services, run).items():
        kept = {name: document[name] for name in ("id", "type", "created_at") if name in document}
        services.store.batch(partition, [Write("replace", id, change(document) | kept)])


_FILTERS = ("finished", "status", "sent", "settled", "project")


def emptied(document: dict[str, Any]) -> dict[str, Any]:
    """Only what queries ask for is left."""
    return {name: value for name, value in document.items() if name in _FILTERS}


def of_other_types(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name in _FILTERS else [value] for name, value in document.items()}


def without_time_zones(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_time_zones(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_time_zones(each) for each in value]
    return value.removesuffix("+00:00").removesuffix("Z") if isinstance(value, str) and "T" in value else value


def swollen(run: Run, value: Any) -> Any:
    """Its names are longer than a message may be."""
    if isinstance(value, dict):
        return {name: each if name in _FILTERS else swollen(run, each) for name, each in value.items()}
    if isinstance(value, list):
        return [swollen(run, each) for each in value]
    mine = isinstance(value, str) and value.startswith((run.project, run.id, f"m-{run.project}"))
    return value + "x" * 300_000 if mine else value


Break = Callable[[Services, Run], Services]


def document(change: Callable[[Any], Any]) -> Break:
    def break_(services: Services, run: Run) -> Services:
        rewrite(services, run, change)
        return services

    return break_


def enlarge(services: Services, run: Run) -> Services:
    rewrite(services, run, lambda document: swollen(run, document))
    return services


PORTS = ("store", "bus", "blobs", "models", "launcher")


def cable(meets: Callable[[], object]) -> Break:
    """What names its project or its run meets that, at every port."""

    def break_(services: Services, run: Run) -> Services:
        for victim in (run.project, run.id):
            ports = {name: Cable(getattr(services, name), victim, meets) for name in PORTS}
            services = replace(services, **ports)  # type: ignore[arg-type]
        return services

    return break_


def error(raised: Exception) -> Break:
    def meet() -> None:
        raise raised

    return cable(meet)


BREAKS: dict[str, Break] = {
    "emptied document": document(emptied),
    "document of other types": document(of_other_types),
    "document without time zones": document(without_time_zones),
    "too large": enlarge,
    "transient": error(Transient("down", "503")),
    "permanent": error(PermanentFailure(FailureClass.PLATFORM, "gone", "404")),
    "invalid": error(InvalidInput("bad", "400")),
    "conflict": error(StoreConflict("a document")),
    "a bug": error(AttributeError("'NoneType' object has no attribute 'id'")),
    "bad bytes": error(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
    "disk": error(OSError(5, "Input/output error")),
}
