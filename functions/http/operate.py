"""For who operates the app. `/api/health`: it runs. `/api/doctor`: is everything there that a run will need?
`/api/dead-letters`: messages that failed too often, and another try for them. `/api/events`: what the events are, as
documents for tools; they say nothing of any run, and need no token."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice

import orjson
from fastapi import APIRouter, Request, Response

from functions.dispatch import REPLAYED
from functions.http.auth import ADMINISTRATOR, Access, CurrentRunner, CurrentServices, Operator, Reader
from functions.http.errors import ApiError
from shared.api import event_catalog, models
from shared.domain import paths
from shared.domain.commands import job_of, parse_request
from shared.domain.errors import DroptuneError, LockLost
from shared.health.doctor import examine
from shared.pipeline import TOPOLOGY
from shared.ports import DEAD_LETTERS, EventBus, Message, ReceivedMessage, RunStore, Services
from shared.records import endpoints, runs
from shared.records.unreadable import unreadable

VERSION = "0.1.0"

router = APIRouter(prefix="/api")

SHOWN = 20
_PROJECTS = "/projects/"  # in the `source` of an event, before the project's name
BATCH = 50
WAIT_S = 1.0


@router.get("/health", tags=["health"])
def get_health() -> models.Health:
    """That the app runs. It answers without a token."""
    return models.Health(status="ok", version=VERSION)


@router.get("/ready", tags=["health"], responses={503: {"model": models.Ready, "description": "Some do not answer"}})
def get_ready(request: Request, response: Response) -> models.Ready:
    """Whether store, bus, blobs and Azure ML answer. It answers without a token; `doctor` says what is wrong."""
    found = request.app.state.readiness.check(request.app.state.services)
    ready = all(one.ok for one in found)
    response.status_code = 200 if ready else 503
    return models.Ready(ready=ready, services=found)


@router.get("/events/asyncapi.json", tags=["events"])
def get_asyncapi() -> models.SchemaDocument:
    """All events as an AsyncAPI 3 document, with an example of each."""
    return models.SchemaDocument(event_catalog.asyncapi(VERSION))


@router.get("/events/schemas/{type}", tags=["events"])
def get_event_schema(type: str) -> models.SchemaDocument:
    """JSON schema of one event, such as `droptune.model.promoted.v1`."""
    try:
        return models.SchemaDocument(event_catalog.schema_of(type))
    except KeyError as error:
        raise ApiError(404, "unknown_event_type", f"no event of type {type}", "type") from error


@router.get("/doctor", tags=["doctor"])
def examine_services(access: Operator, request: Request) -> models.Doctor:
    """Asks every service for something harmless; takes seconds. 200 whatever it finds."""
    access.require(None)
    return models.Doctor(data=tuple(examine(request.app.state.services)))


@router.get("/dead-letters", tags=["dead letters"])
def list_dead_letters(access: Reader, services: CurrentServices) -> models.DeadLetterList:
    """The entities that have any the caller may see, each with their count and the oldest; bodies stay on the bus."""
    entities = TOPOLOGY.entities()
    # All at once: the first look at an entity of Service Bus opens a link, which takes the SDK half a second.
    with ThreadPoolExecutor(len(entities)) as pool:
        found = pool.map(partial(_of, services, access), entities)
        data = tuple(one for one in found if one.count or one.problem)
    named = unreadable(services.store, services.clock.now())
    seen = (one for one in named if _may_see(_project_in_store(one.partition, services.store, access), access))
    return models.DeadLetterList(data=data, unreadable=tuple(islice(seen, SHOWN)))


def _of(services: Services, access: Access, entity: str) -> models.EntityDeadLetters:
    bus = services.bus
    try:
        count = bus.depth(entity + DEAD_LETTERS)
        oldest = bus.peek(entity + DEAD_LETTERS, limit=SHOWN if _may_see(None, access) else count) if count else []
    except DroptuneError as error:
        return models.EntityDeadLetters(entity=entity, count=0, problem=error.problem.message)
    if not _may_see(None, access):
        oldest = [one for one in oldest if _may_see(_project_of(one.message, services.store, access), access)]
        count = len(oldest)
    return models.EntityDeadLetters(entity=entity, count=count, messages=tuple(map(_shown, oldest[:SHOWN])))


def _may_see(project: str | None, access: Access) -> bool:
    """Of what nobody knows the project (None), it may be one that has members."""
    if project is None and access.policy.projects:
        return ADMINISTRATOR in access.caller.roles
    return access.allows(project)


def _project_of(message: Message, store: RunStore, access: Access) -> str | None:
    with suppress(Exception):  # it may be a dead letter because it says nothing that can be read
        body = orjson.loads(message.body)
        if str(body["source"]).startswith(_PROJECTS):
            return str(body["source"]).removeprefix(_PROJECTS)
        if run_id := paths.run_id_of_job(job_of(body)):
            return _project_in_store(run_id, store, access)
        return parse_request(body).path.split("/")[1]
    return None


def _project_in_store(partition: str, store: RunStore, access: Access) -> str | None:
    """Of a run or an endpoint by its document, which may be damaged in other fields."""
    kind, _, names = partition.partition(":")
    name = names.split(":")[0]
    if kind in ("dataset", "budget"):
        return name
    stored = store.get(partition, endpoints.RECORD if names else runs.RUN)
    found = access.policy.owner(name) or (stored and stored.document.get("project"))
    return found if isinstance(found, str) else None


def _shown(dead: ReceivedMessage) -> models.DeadLetter:
    return models.DeadLetter(
        id=dead.message.id,
        subject=dead.message.subject,
        reason=dead.dead_letter_reason,
        description=dead.dead_letter_description,
        enqueued_at=dead.enqueued_at,
        delivery_count=dead.delivery_count,
    )


@router.post("/dead-letters/release", tags=["dead letters"])
def release_document(request: models.ReleaseRequest, access: Operator, runner: CurrentRunner) -> models.Released:
    """Keep a document that cannot be read in the container `quarantine`, and take it out of the run store.

    A run keeps those of its fields that can be read; one under way ends as `failed`. What it held is given back within
    minutes. A document that can be read is refused.
    """
    project = _project_in_store(request.partition, runner.services.store, access)
    released = None
    if not access.hides(project) and (project or _may_see(None, access)):
        access.require(project)
        released = runner.release_unreadable(request.partition, request.id, access.caller.name)
    if released is None:
        raise ApiError(404, "document_not_found", f"no document {request.id} of {request.partition}", "partition")
    return models.Released(path=released[0], run=released[1])


@router.post("/dead-letters/replay", tags=["dead letters"])
def replay_dead_letters(request: models.ReplayRequest, access: Operator, services: CurrentServices) -> models.Replayed:
    """Send dead letters that the caller may see again under their own ids, then remove them.

    Inboxes know repeats, so a stage that handled such an event already does nothing, and a replay cut short may be
    done again. A dead letter of a subscription goes to its topic and so reaches every subscription that wants
    it: to all but the one it failed at, it is such a repeat.
    """
    entity, bus = request.entity, services.bus
    if entity not in TOPOLOGY.entities():
        raise ApiError(404, "entity_not_found", f"the bus has no entity {entity}", "entity")
    replayed, others = 0, []
    for dead in _locked(bus, entity + DEAD_LETTERS):
        may_see = _may_see(_project_of(dead.message, services.store, access), access)
        if may_see and request.message_id in (None, dead.message.id):
            _send_again(bus, entity, dead)
            replayed += 1
        else:
            others.append(dead)  # held until the end, or the next batch would be the same one
    for dead in others:
        with suppress(LockLost):  # its time was over: it is free already
            bus.abandon(dead)
    if request.message_id is not None and not replayed:
        raise ApiError(404, "dead_letter_not_found", f"no dead letter {request.message_id} at {entity}", "message_id")
    return models.Replayed(entity=entity, replayed=replayed)


def _locked(bus: EventBus, dead_letters: str) -> Iterator[ReceivedMessage]:
    """What lies there now. What comes while we work is left: a message that fails at once would never end it."""
    left = bus.depth(dead_letters)
    while left > 0:
        batch = bus.receive(dead_letters, max_messages=min(left, BATCH), wait_s=WAIT_S)
        if not batch:
            return  # somebody else holds the rest
        left -= len(batch)
        yield from batch


def _send_again(bus: EventBus, entity: str, dead: ReceivedMessage) -> None:
    # A queue's name has no slash; of `topic/subscription` only the topic can be sent to.
    destination = entity.split("/")[0]
    # Without its properties: what others added may be why it failed, and our own counts begin anew.
    bus.send(destination, [replace(dead.message, properties={REPLAYED: "1"}, scheduled_at=None)])
    with suppress(LockLost):  # it was sent; a dead letter that stays is a repeat
        bus.complete(dead)
