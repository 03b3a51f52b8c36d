"""`/api/events` and `/api/intake`: events of other systems, which do what a person could do over the API. `receive`
takes those of the queue."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import unquote

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from functions.http import endpoints, runs
from functions.http.auth import OPERATOR, Access, Caller, CurrentRunner, CurrentServices, Operator
from functions.http.errors import ApiError, JsonResponse, existing
from shared.api import models
from shared.domain.commands import CopyBlob
from shared.domain.drop_zone import Role, role_of, starts_a_run
from shared.domain.errors import InvalidInput, Problem
from shared.domain.inbound import Incoming, Location, location_of, read_events
from shared.domain.paths import DATASETS
from shared.domain.recipe import NAME, Name
from shared.domain.topology import STORAGE_EVENTS
from shared.ports.blobs import check_path
from shared.records import inbound as records
from shared.records import policies
from shared.runner import Runner
from shared.step_support.outcome import message_of
from shared.steps.receive_dataset import require_allowed
from shared.steps.retrain import newest_dataset

router = APIRouter(prefix="/api", tags=["inbound events"])

HANDSHAKE = "Microsoft.EventGrid.SubscriptionValidationEvent"
QUEUE = Caller("queue inbound", frozenset({OPERATOR}), id="queue:inbound", is_person=False)
Answer = dict[str, Any]  # fields of models.EventAnswer
_EMPTY = Problem(code="blob_is_empty", message="another event comes with its content")
_NO_DATASET = Problem(code="not_a_dataset", message="by its name it is no dataset, and no file beside one")


@router.post("/events", status_code=202, response_model=models.EventAnswers)
async def send_events(request: Request, access: Operator, runner: CurrentRunner) -> models.EventAnswers | Response:
    """Act on a CloudEvent (structured or binary mode), a batch of them, or events of Event Grid.

    400 says of each event what became of it. One that came before gets the answer that it got then.
    """
    # Percent-encoded: CloudEvents, HTTP protocol binding, section 3.1.3.2.
    attributes = {name[3:]: unquote(text) for name, text in request.headers.items() if name.startswith("ce-")}
    try:
        events = read_events(request.headers.get("content-type", ""), attributes, await request.body())
    except InvalidInput as error:
        raise ApiError(415 if error.problem.code == "unsupported_format" else 400, **dict(error.problem)) from error
    if [one.type for one in events] == [HANDSHAKE]:
        return JsonResponse({"validationResponse": events[0].text("validationCode", ".+")})
    data = await run_in_threadpool(lambda: tuple(_answer(event, access, runner) for event in events))
    answers, refused = models.EventAnswers(data=data), _refused(data)
    # 400: Event Grid sends it to the dead letters at once (Microsoft Learn, "Event Grid delivery and retry").
    return JsonResponse({"error": dict(refused), **answers.model_dump(mode="json")}, 400) if refused else answers


@router.post("/intake/{project}", status_code=202, response_model=models.EventAnswers)
async def take_in(project: str, request: Request, access: Operator, runner: CurrentRunner) -> Any:
    """The same without a token: `?access_token=`, or the bearer token, is an intake key of the project."""
    return await send_events(request, access, runner)


@router.options("/events", include_in_schema=False)
@router.options("/intake/{project}", include_in_schema=False)
def agree_to_events(request: Request, access: Operator) -> Response:
    """The handshake of HTTP 1.1 Web Hooks for Event Delivery (CloudEvents), section 4."""
    origin = request.headers.get("webhook-request-origin")
    return Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"} if origin else None)


@router.post("/intake-keys/{project}", status_code=201)
def make_intake_key(
    project: Name,
    request: Request,
    access: Operator,
    services: CurrentServices,
    days: Annotated[int, Query(ge=1, le=366)] = 90,
) -> models.IntakeKey:
    """Make a key, valid for so many days; its URL is shown this once. The newest two of a project are valid."""
    access.require(project)
    key = records.new_key(services.store, project, access.caller.name, services.clock.now(), days)
    return models.IntakeKey(url=f"{request.base_url}api/intake/{project}?access_token={key}")


def receive(events: list[Incoming], runner: Runner) -> None:
    """Those of the queue: in a project of the policy it acts as its member `queue:inbound`. Raises InvalidInput."""
    access = Access(QUEUE, OPERATOR, lambda: policies.read(runner.services.store).policy)
    if refused := _refused([_answer(event, access, runner) for event in events]):
        raise InvalidInput(**dict(refused))


def _refused(answers: Iterable[models.EventAnswer]) -> Problem | None:
    return next((one.reason for one in answers if one.status == "refused"), None)


def _answer(event: Incoming, access: Access, runner: Runner) -> models.EventAnswer:
    """What is refused is not remembered: it may be allowed by the time it comes again."""
    store, names = runner.services.store, {"id": event.id, "source": event.source}
    key = hashlib.sha256(orjson.dumps([access.caller.id, event.source, event.id])).hexdigest()[:32]
    if known := records.answer(store, key):
        return models.EventAnswer.model_validate(known)
    try:
        given = names | ACTS.get(event.type, _at_blob)(event, access, runner, key)
    except (ApiError, InvalidInput) as error:
        if isinstance(error, ApiError) and error.status >= 500:
            raise
        return models.EventAnswer(**names, status="refused", reason=error.problem)
    found = models.EventAnswer.model_validate(given)
    records.keep(store, key, found.model_dump(mode="json"), runner.services.clock.now())
    return found


def _run(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    if "url" in event.data:
        project = event.text("project", NAME) if "project" in event.data else None
        return _at_url(event.text("url", ".+"), project, access, runner, key)
    return _started(event.text("dataset", ".{1,1024}"), access, runner)


def _started(dataset: str, access: Access, runner: Runner) -> Answer:
    return {"run": runs.start_run(models.StartRunRequest(dataset=dataset), access, runner.services).id}


def _retrain(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    record, services = endpoints.find_record(event.text("endpoint", NAME), access, runner.services), runner.services
    message = f"{record.project} has no dataset in the drop zone"
    newest = existing(newest_dataset(record.project, services), "dataset_not_found", message, "endpoint")
    return {"run": runs.order_run(services.bus, newest, f"event-{key}", access, parent_run=record.champion)}


def _cancel(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    return {"run": runs.cancel_run(event.text("run", "run-[0-9a-f]{12}"), access, runner).id}


def _roll_back(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    name, comment = event.text("endpoint", NAME), f"event {event.id[:200]}"
    endpoints.roll_back_endpoint(name, access, runner.services, runner, comment)
    return {}


def _promote(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    message = "no event promotes an earlier run; droptune.request.rollback.v1 returns to the previous model"
    raise InvalidInput("promotion_not_offered", message, "type")


ACTS: dict[str, Callable[[Incoming, Access, Runner, str], Answer]] = {
    "droptune.request.run.v1": _run,
    "droptune.request.retrain.v1": _retrain,
    "droptune.request.cancel.v1": _cancel,
    "droptune.request.rollback.v1": _roll_back,
    "droptune.request.promote.v1": _promote,
}


def _at_blob(event: Incoming, access: Access, runner: Runner, key: str) -> Answer:
    if (url := event.blob_url()) is None:
        return {"status": "ignored", "reason": _EMPTY}
    return _at_url(url, None, access, runner, key)


def _at_url(url: str, project: str | None, access: Access, runner: Runner, key: str) -> Answer:
    """A blob of the drop zone starts its run; one elsewhere is copied there first."""
    place, config = location_of(url), runner.services.config
    check_path(place.path)
    container, _, name = place.path.partition("/")
    if (place.endpoint, container) == (config.blob_store_url.rstrip("/"), DATASETS):
        found = _started(name, access, runner) if starts_a_run(place.path) else None
    else:
        command = CopyBlob(project=project or access.caller.key_of or _project_of(place, access), url=url, key=key)
        access.require(command.project)
        require_allowed(place, command.project, access.policy)
        found = None if role_of(command.path) is Role.NOTHING else {"path": command.path}
        if found:
            runner.services.bus.send(STORAGE_EVENTS, [message_of(command)])
    return found or {"status": "ignored", "reason": _NO_DATASET}


def _project_of(place: Location, access: Access) -> str:
    projects = access.policy.projects.items()
    found = [name for name, one in projects if access.allows(name) and place.is_within(one.storage_accounts)]
    if len(found) != 1:
        message = f"{len(found)} projects that {access.caller.name} may use have it in storage_accounts of the policy"
        raise InvalidInput("ambiguous_project" if found else "storage_account_not_allowed", message, "url")
    return found[0]
