"""The function app: HTTP, and one function for each row of STAGES with the row's name, description and trigger."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import azure.functions as func

from functions import queues, timers
from functions.dispatch import Dispatcher
from shared.domain.topology import TOPIC
from shared.pipeline import STAGES, Stage
from shared.ports import Services
from shared.services import lazy

if TYPE_CHECKING:
    from fastapi import FastAPI

CONNECTION = "ServiceBusConnection"

# Functions of queues and timers. Every other stage gives its event to the runner and does nothing else.
OWN_WORK: dict[str, Callable[[Stage, Dispatcher, Any], None]] = {
    work.__name__: work
    for work in (
        queues.receive_dataset,
        queues.inspect_job,
        queues.deliver_notification,
        timers.probe_deployments,
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
