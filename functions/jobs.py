"""Training and evaluation jobs: submitted, looked at, judged."""

from __future__ import annotations

import azure.functions as func

from functions.dispatch import CONNECTION, handle, quarantine, read_json, runner
from shared.domain.errors import InvalidInput
from shared.domain.paths import run_id_of_job
from shared.pipeline import TOPIC
from shared.services import services
from shared.steps.inspect_job import inspect_job as inspect

blueprint = func.Blueprint()


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="submit_training", connection=CONNECTION
)
def submit_training(message: func.ServiceBusMessage) -> None:
    """validated -> training."""
    handle("submit_training", message)


@blueprint.service_bus_queue_trigger(arg_name="message", queue_name="job-events", connection=CONNECTION)
def inspect_job(message: func.ServiceBusMessage) -> None:
    """Reads the job an event or a poll is about, and states the fact."""
    try:
        job = str(read_json(message).get("data", {}).get("runId", ""))
    except InvalidInput as error:
        quarantine(message, error)
        return
    run_id = run_id_of_job(job)
    run = runner().load(run_id) if run_id else None
    if run is None:
        return  # a model or a job of somebody else in the workspace
    fact = inspect(job, run, services())
    if fact is not None:
        runner().state(run, fact)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="submit_evaluation", connection=CONNECTION
)
def submit_evaluation(message: func.ServiceBusMessage) -> None:
    """training -> evaluating."""
    handle("submit_evaluation", message)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="judge_evaluation", connection=CONNECTION
)
def judge_evaluation(message: func.ServiceBusMessage) -> None:
    """evaluating -> approved or declined."""
    handle("judge_evaluation", message)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="record_decision", connection=CONNECTION
)
def record_decision(message: func.ServiceBusMessage) -> None:
    """awaiting_approval -> approved or declined."""
    handle("record_decision", message)
