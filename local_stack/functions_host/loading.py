"""Reads an azure-functions app and its host.json; reports everything that cannot be served at once."""

import importlib
import inspect
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import azure.functions as func
from azure.functions.meta import Datum
from croniter import croniter
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo

App = func.FunctionApp | func.AsgiFunctionApp

_SETTING = re.compile(r"%([^%]+)%")


class StartRefused(Exception):
    """The app cannot be served as it is; `problems` has one line for each thing wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _resolved(text: str, info: ValidationInfo) -> str:
    """With each `%SETTING%` replaced by its value."""
    environment: Mapping[str, str] = info.context or {}
    if missing := [name for name in _SETTING.findall(text) if name not in environment]:
        raise ValueError(f"the setting {', '.join(missing)} is not in the environment")
    return _SETTING.sub(lambda match: environment[match[1]], text)


def _ncrontab(schedule: str) -> str:
    if len(schedule.split()) != 6 or not croniter.is_valid(schedule, second_at_beginning=True):
        raise ValueError(f"{schedule!r} is not NCRONTAB with six fields")
    return schedule


Setting = Annotated[str, AfterValidator(_resolved)]


class BusTrigger(BaseModel):
    """A queue, or a topic's subscription. Sessions and batches change how a message is locked and settled."""

    type: Literal["serviceBusTrigger"]
    name: str
    queueName: Setting = ""
    topicName: Setting = ""
    subscriptionName: Setting = ""
    isSessionsEnabled: Literal[False] = False
    cardinality: Literal[func.Cardinality.ONE] = func.Cardinality.ONE

    @property
    def entity(self) -> str:
        return self.queueName or f"{self.topicName}/{self.subscriptionName}"


class TimerTrigger(BaseModel):
    """An NCRONTAB expression of six fields, seconds first, in UTC."""

    type: Literal["timerTrigger"]
    name: str
    schedule: Annotated[Setting, AfterValidator(_ncrontab)]
    runOnStartup: bool = False


class HttpTrigger(BaseModel):
    """The catch-all route of an AsgiFunctionApp."""

    type: Literal["httpTrigger"]
    name: str
    route: str = Field(pattern=r"^/\{\*")
    methods: frozenset[Annotated[str, BeforeValidator(str)]]


class _HttpAnswer(BaseModel):
    type: Literal["http"]
    name: Literal["$return"]


FunctionTrigger = BusTrigger | TimerTrigger | HttpTrigger
_BINDINGS: TypeAdapter[list[FunctionTrigger | _HttpAnswer]] = TypeAdapter(
    list[Annotated[FunctionTrigger | _HttpAnswer, Field(discriminator="type")]]
)


@dataclass(frozen=True, slots=True)
class LocalFunction:
    """A function of the app; the trigger has the name of the parameter that takes its value."""

    name: str
    call: Callable[..., Any]
    trigger: FunctionTrigger

    def __call__(self, value: Any, **others: Any) -> Any:
        return self.call(**{self.trigger.name: value}, **others)


class _ServiceBusOptions(BaseModel):
    maxConcurrentCalls: int = Field(default=16, ge=1)
    maxAutoLockRenewalDuration: timedelta = timedelta(minutes=5)
    autoCompleteMessages: Literal[True] = True  # Python has no other way to settle


class _HttpOptions(BaseModel):
    routePrefix: str = "api"


class HostConfig(BaseModel):
    """The parts of host.json that the local host honors; the defaults are Azure's."""

    serviceBus: _ServiceBusOptions = _ServiceBusOptions()
    http: _HttpOptions = _HttpOptions()


def load_app(module_name: str) -> tuple[App, Path]:
    """Import the module and return its `app` and the path of the host.json beside it. Raises StartRefused."""
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the app's code raises, for example a second trigger on one function
        raise StartRefused([f"{module_name} cannot be imported: {error!r}"]) from error
    app = getattr(module, "app", None)
    if app is None or not hasattr(app, "get_functions"):
        raise StartRefused([f"{module_name} has no attribute `app` that is an azure.functions app"])
    return app, Path(str(module.__file__)).resolve().parent / "host.json"


def read_app(app: App, host_json: Path, environment: Mapping[str, str]) -> tuple[list[LocalFunction], HostConfig]:
    """The app's functions and its host.json, without those that `AzureWebJobs.NAME.Disabled=true` disables (Microsoft
    Learn, "How to disable functions in Azure Functions"). An app can be read once: azure-functions 1.26 takes the names
    of a second `get_functions()` for duplicates. Raises StartRefused with every problem found."""
    problems: list[str] = []
    config = _read_host_json(host_json, problems)
    functions = _read_functions(app, environment, problems)
    if problems:
        raise StartRefused(problems)
    return functions, config


def _read_host_json(path: Path, problems: list[str]) -> HostConfig:
    try:
        return HostConfig.model_validate(json.loads(path.read_text("utf-8")).get("extensions", {}))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return HostConfig()


def _read_functions(app: App, environment: Mapping[str, str], problems: list[str]) -> list[LocalFunction]:
    try:
        functions = app.get_functions()
    except ValueError as error:  # no trigger, or a name twice; the library stops at the first
        problems.append(str(error))
        return []
    found = [_read_function(function, environment, problems) for function in functions]
    if sum(isinstance(function.trigger, HttpTrigger) for function in found if function) > 1:
        problems.append("more than one httpTrigger: HTTP is one ASGI app behind one catch-all route")
    disabled = {name for name, value in environment.items() if value.lower() in ("true", "1")}
    return [function for function in found if function and f"AzureWebJobs.{function.name}.Disabled" not in disabled]


def _read_function(function: Any, environment: Mapping[str, str], problems: list[str]) -> LocalFunction | None:
    name, call = function.get_function_name(), function.get_user_function()
    try:
        bindings = _BINDINGS.validate_python(function.get_dict_repr()["bindings"], context=environment)
    except ValidationError as error:
        for one in error.errors():
            problems.append(f"function {name}: {'.'.join(map(str, one['loc'][1:]))}: {one['msg']}")
        return None
    triggers = [binding for binding in bindings if not isinstance(binding, _HttpAnswer)]
    if len(triggers) != 1:
        problems.append(f"function {name}: has {len(triggers)} triggers instead of one")
        return None
    is_coroutine, parameters = inspect.iscoroutinefunction(call), inspect.signature(call).parameters
    if not isinstance(triggers[0], HttpTrigger) and (is_coroutine or "context" in parameters):
        plain = "is called in a thread, with the trigger's value alone: no `async def`, no `context`"
        problems.append(f"function {name}: {plain}")
    return LocalFunction(name, call, triggers[0])


logger = logging.getLogger("local_stack.host")


def decode(binding_type: str, data: Datum, metadata: dict[str, Datum] | None = None) -> Any:
    """The trigger's value, by the class that azure-functions' own worker would convert with."""
    return func.get_binding_registry().get(binding_type).decode(data, trigger_metadata=metadata or {})


def log_invocation(function: str, id: str, outcome: str, started: float, *, error: BaseException | None = None) -> None:
    """One line; `started` is from `time.perf_counter`. An error adds its traceback, never a message body."""
    level, ms = logging.ERROR if error else logging.INFO, (time.perf_counter() - started) * 1000
    named = {"function": function, "message_id": id, "outcome": outcome, "elapsed_ms": ms}
    logger.log(level, "function=%s id=%s outcome=%s ms=%.1f", *named.values(), exc_info=error, extra=named)
