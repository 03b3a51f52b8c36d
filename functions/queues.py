"""Functions of queues: they read what other systems and people send, which is no event of a run."""

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import azure.functions as func

from functions.dispatch import WAITED, Dispatcher, as_message, count_of, properties_of, read_json
from shared.domain.commands import job_of, parse_request
from shared.domain.errors import InvalidInput, Transient
from shared.domain.paths import run_id_of_job
from shared.domain.topology import STORAGE_EVENTS
from shared.pipeline import Stage
from shared.ports import Services
from shared.records import claims, waits
from shared.runner import RETRY
from shared.steps import inspect_job as job_step
from shared.steps import receive_dataset as receive_step
from shared.steps.notify import deliver_notification as deliver

log = logging.getLogger(__name__)

CLAIM_RETRY = timedelta(minutes=1)


def receive_dataset(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    services, properties = dispatcher.services, properties_of(message)
    tried, waited = count_of(properties, RETRY), count_of(properties, WAITED)
    try:
        request = parse_request(read_json(message))
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
