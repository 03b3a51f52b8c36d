"""Functions of queues: they read what other systems and people send, which is no event of a run."""

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import azure.functions as func

from functions.dispatch import Dispatcher, as_message, count_of, properties_of, read_json
from shared.domain.commands import job_of, parse_request
from shared.domain.errors import InvalidInput, Transient
from shared.domain.paths import run_id_of_job
from shared.domain.topology import STORAGE_EVENTS
from shared.pipeline import Stage
from shared.ports import Services
from shared.records import claims
from shared.runner import RETRY
from shared.steps import deliver_notification as delivery_step
from shared.steps import inspect_job as job_step
from shared.steps import receive_dataset as receive_step

log = logging.getLogger(__name__)

CLAIM_RETRY = timedelta(minutes=1)


def receive_dataset(stage: Stage, dispatcher: Dispatcher, message: func.ServiceBusMessage) -> None:
    services, tried = dispatcher.services, count_of(properties_of(message), RETRY)
    try:
        request = parse_request(read_json(message))
        chain = f"reception:{request.path}:{request.key}"
        due = receive_step.settles_at(request.path, services)
        if due is not None:
            _send_again(message, due, services, tried)
            return
        reception = receive_step.receive_dataset(request, services, tried)
    except InvalidInput as error:
        dispatcher.quarantine(message, error)
        return
    except Transient as error:
        log.warning("%s", error)
        # `reconcile` asks at each tick for what has no run yet: one message at a time goes round.
        if tried or not claims.read(services.store, chain):
            claims.take(services.store, chain, chain, services.clock.now())
            # A minute more each time for a project that floods: to ask again is not to be what takes the time.
            wait = CLAIM_RETRY * (min(tried + 1, 60) if error.problem.code == receive_step.BUSY else 1)
            _send_again(message, services.clock.now() + wait, services, tried + 1)
        return
    if tried:
        claims.release(services.store, chain, chain)
    if reception is None:
        return
    run = dispatcher.runner.create(reception, request.id or message.message_id, request.wire_type)
    if run.duplicate_of:
        requester = f"the schedule of {run.parent_run}" if run.parent_run else run.dataset.path
        log.info("%s: %s asks for what %s trains or trained; nothing is done", run.id, requester, run.duplicate_of)


def _send_again(message: func.ServiceBusMessage, due: datetime, services: Services, tried: int) -> None:
    services.bus.send(STORAGE_EVENTS, [replace(as_message(message), properties={RETRY: str(tried)}, scheduled_at=due)])


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
        delivery_step.deliver_notification(as_message(message), dispatcher.services)
    except InvalidInput as error:
        dispatcher.quarantine(message, error)
