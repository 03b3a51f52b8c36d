"""The function app: HTTP, and one function for each row of STAGES with the row's name, description and trigger.

Functions of queues read what other systems and people send, which is no event of a run; `timers` has those of timers.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import azure.functions as func

from functions import timers
from functions.dispatch import CLOUD_EVENTS, WAITED, Dispatcher, as_message, count_of, properties_of, read_json
from shared.domain.commands import CopyBlob, copy_of, job_of, parse_request
from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from shared.domain.inbound import read_events
from shared.domain.paths import run_id_of_job
from shared.domain.topology import STORAGE_EVENTS, TOPIC
from shared.pipeline import STAGES, Stage
from shared.ports import Services
from shared.records import claims, waits
from shared.runner import RETRY
from shared.services import lazy
from shared.steps import inspect_job as job_step
from shared.steps import receive_dataset as receive_step
from shared.steps.notify import deliver_notification as deliver

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)

CONNECTION = "ServiceBusConnection"
CLAIM_RETRY = timedelta(minutes=1)
COPY_TRIES = 30


def receive_dataset(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    services, properties = dispatcher.services, properties_of(message)
    tried, waited = count_of(properties, RETRY), count_of(properties, WAITED)
    try:
        if (command := copy_of(body := read_json(message))) is not None:
            _copy(command, message, services, tried)
            return
        request = parse_request(body)
        chain = f"reception:{request.path}:{request.key}"
        due = receive_step.settles_at(request.path, services)
        if due is not None:
            _send_again(message, due, services, tried, waited)
            return
        reception = receive_step.receive_dataset(request, services, tried)
    except InvalidInput as error:
        dispatcher.quarantine(message, error)
        return
    except Transient as error:
        log.warning("%s", error)
        # `reconcile` asks at each tick for what has no run yet: one message at a time goes round.
        if tried or waited or not claims.read(services.store, chain):
            due = services.clock.now() + CLAIM_RETRY
            claims.take(services.store, chain, chain, services.clock.now())
            if error.problem.code == receive_step.BUSY:  # no try of reading: what waits longer is as readable
                # A minute more each time for a project that floods: to ask again is not to be what takes the time.
                waited, due = waited + 1, due + CLAIM_RETRY * min(waited, 59)
                wait = waits.Wait(request.path.split("/")[1], error.problem.message, due)
                waits.note(services.store, str(error.problem.param), wait)
            else:
                tried += 1
            _send_again(message, due, services, tried, waited)
        return
    if tried or waited:
        claims.release(services.store, chain, chain)
    if reception is None:
        return
    run = dispatcher.runner.create(reception, request.id or message.message_id, request.wire_type)
    if run.duplicate_of:
        requester = f"the schedule of {run.parent_run}" if run.parent_run else run.dataset.path
        log.info("%s: %s asks for what %s trains or trained; nothing is done", run.id, requester, run.duplicate_of)


def _copy(command: CopyBlob, message: func.ServiceBusMessage, services: Services, tried: int) -> None:
    """Raises InvalidInput for what is refused, or could not be read at any try."""
    try:
        receive_step.copy_blob(command, services)
    except (PermanentFailure, Transient) as error:  # a new role counts after some minutes
        if tried + 1 >= COPY_TRIES:
            raise InvalidInput(error.problem.code, error.problem.message, command.url) from error
        _send_again(message, services.clock.now() + CLAIM_RETRY, services, tried + 1, 0)


def receive_event(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    from functions.http.inbound import receive  # which imports FastAPI: no other function of messages needs it

    properties = properties_of(message).items()
    attributes = {name[len(CLOUD_EVENTS[0]) :]: text for name, text in properties if name.startswith(CLOUD_EVENTS)}
    try:
        receive(read_events(message.content_type or "", attributes, message.get_body()), dispatcher.runner)
    except InvalidInput as error:
        dispatcher.quarantine(message, error)


def _send_again(message: func.ServiceBusMessage, due: datetime, services: Services, tried: int, waited: int) -> None:
    properties = {RETRY: str(tried)} | ({WAITED: str(waited)} if waited else {})
    services.bus.send(STORAGE_EVENTS, [replace(as_message(message), properties=properties, scheduled_at=due)])


def inspect_job(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    try:
        job = job_of(read_json(message))
    except InvalidInput as error:
        dispatcher.quarantine(message, error)
        return
    run_id = run_id_of_job(job)
    run = dispatcher.runner.load(run_id) if run_id else None
    if run is None:
        return  # a model or a job of somebody else in the workspace
    try:
        draft = job_step.inspect_job(job, run, dispatcher.services)
    except Exception as error:
        with suppress(Exception):  # the store may be what fails
            dispatcher.runner.note_timer(run.id, stage.name, str(error))
        raise
    if run.attention:
        dispatcher.runner.note_timer(run.id, stage.name, None)
    if draft is not None:
        dispatcher.runner.publish(run, draft, by=stage)


def deliver_notification(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    try:
        deliver(as_message(message), dispatcher.services)
    except InvalidInput as error:
        dispatcher.quarantine(message, error)


# Functions of queues and timers. Every other stage gives its event to the runner and does nothing else.
OWN_WORK: dict[str, Callable[[Stage, Dispatcher, Any], None]] = {
    work.__name__: work
    for work in (
        receive_dataset,
        receive_event,
        inspect_job,
        deliver_notification,
        timers.probe_deployments,
        timers.monitor_endpoints,
        timers.retire_deployments,
        timers.reconcile,
        timers.retrain,
    )
}

Function = Callable[[Any], None]


def stage_functions(services: Callable[[], Services]) -> dict[str, Function]:
    """The function of each stage by its name; it takes the trigger's message or tick."""
    dispatcher = Dispatcher(services)
    return {stage.name: _function(stage, dispatcher) for stage in STAGES}


def create_app(services: Callable[[], Services]) -> func.AsgiFunctionApp:
    """`services` is called when a function runs: an import must work with nothing configured."""

    @lazy
    def api() -> "FastAPI":
        from functions.http import create_api  # a third of what the app imports, and one function's

        return create_api(services)

    async def asgi(*call: Any) -> None:
        await api()(*call)

    app = func.AsgiFunctionApp(app=asgi, http_auth_level=func.AuthLevel.ANONYMOUS, function_name="http")
    for stage, function in zip(STAGES, stage_functions(services).values(), strict=True):
        _trigger(stage, app)(function)
    return app


def _function(stage: Stage, dispatcher: Dispatcher) -> Function:
    if stage.step is not None:
        work: Callable[[Any], object] = partial(dispatcher.handle, stage)
    else:
        work = partial(OWN_WORK[stage.name], stage, dispatcher)

    # The worker binds an argument by its name and checks its annotation.
    def on_message(message: func.ServiceBusMessage) -> None:
        dispatcher.attempt(stage, work, message)

    def on_timer(timer: func.TimerRequest) -> None:
        work(timer)

    function = on_timer if stage.timer else on_message
    function.__name__ = function.__qualname__ = stage.name
    function.__doc__ = stage.description
    return function


def _trigger(stage: Stage, app: func.AsgiFunctionApp) -> Callable[..., Any]:
    """The decorator that registers a function."""
    if stage.timer:
        return app.timer_trigger(arg_name="timer", schedule=f"%{stage.timer}%", use_monitor=False)
    if stage.queue:
        return app.service_bus_queue_trigger(arg_name="message", queue_name=stage.queue, connection=CONNECTION)
    return app.service_bus_topic_trigger(
        arg_name="message", topic_name=TOPIC, subscription_name=stage.name, connection=CONNECTION
    )
