"""Reads an azure-functions app and its host.json; reports everything that cannot be served at once."""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import azure.functions as func
from croniter import croniter
from pydantic import BaseModel, PositiveInt

App = func.FunctionApp | func.AsgiFunctionApp

_SETTING = re.compile(r"%([^%]+)%")


class StartRefused(Exception):
    """The app cannot be served as it is; `problems` has one line for each thing wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class BusTrigger:
    """A queue, or `topic/subscription`."""

    entity: str


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """An NCRONTAB expression of six fields, seconds first, in UTC."""

    schedule: str
    run_on_startup: bool


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """The catch-all route of an AsgiFunctionApp."""

    methods: frozenset[str]


FunctionTrigger = BusTrigger | TimerTrigger | HttpTrigger


@dataclass(frozen=True, slots=True)
class LocalFunction:
    """A function of the app; `argument` is the parameter that takes the trigger's value."""

    name: str
    call: Callable[..., Any]
    argument: str
    trigger: FunctionTrigger

    def __call__(self, value: Any, **others: Any) -> Any:
        return self.call(**{self.argument: value}, **others)


class _ServiceBusOptions(BaseModel):
    maxConcurrentCalls: PositiveInt = 16
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
    """The app's enabled functions, with `%SETTING%` values from `environment`, and its host.json.

    A function is disabled as in Azure: `AzureWebJobs.NAME.Disabled=true` (Microsoft Learn, "How to disable
    functions in Azure Functions"). Its messages wait.

    An app can be read only once: azure-functions 1.26 remembers the names of the first `get_functions()` and
    takes those of a second for duplicates. Raises StartRefused with every problem found.
    """
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
    return [function for function in found if function and not _is_disabled(function.name, environment)]


def _is_disabled(name: str, environment: Mapping[str, str]) -> bool:
    return environment.get(f"AzureWebJobs.{name}.Disabled", "").lower() in ("true", "1")


def _read_function(function: Any, environment: Mapping[str, str], problems: list[str]) -> LocalFunction | None:
    reader = _Reader(function.get_function_name(), environment)
    trigger, parameter = reader.trigger(function.get_dict_repr()["bindings"])
    call = function.get_user_function()
    if not isinstance(trigger, HttpTrigger):
        reader.check_plain(call)
    problems += reader.problems
    return None if trigger is None or reader.problems else LocalFunction(reader.name, call, parameter, trigger)


class _Reader:
    """Reads the bindings of one function; `problems` is everything that this host cannot do."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name, self._environment = name, environment
        self.problems: list[str] = []

    def trigger(self, bindings: list[dict[str, Any]]) -> tuple[FunctionTrigger | None, str]:
        """The trigger and the name of its parameter."""
        triggers = [binding for binding in bindings if binding["type"].endswith("Trigger")]
        if len(triggers) != 1:
            self._refuse(f"has {len(triggers)} triggers instead of one: {', '.join(b['type'] for b in triggers)}")
        for binding in bindings:
            if binding not in triggers and (binding["type"], binding["name"]) != ("http", "$return"):
                self._refuse(f"binding {binding['name']} of unknown type {binding['type']}")
        if len(triggers) != 1:
            return None, ""
        return self._read(triggers[0]), triggers[0]["name"]

    def check_plain(self, call: Callable[..., Any]) -> None:
        if inspect.iscoroutinefunction(call) or "context" in inspect.signature(call).parameters:
            self._refuse("is called in a thread, with the trigger's value alone: no `async def`, no `context`")

    def _read(self, binding: dict[str, Any]) -> FunctionTrigger | None:
        match binding["type"]:
            case "serviceBusTrigger":
                return self._bus(binding)
            case "timerTrigger":
                return self._timer(binding)
            case "httpTrigger":
                if not str(binding.get("route")).startswith("/{*"):
                    self._refuse(f"route {binding.get('route')!r} is not the catch-all of an AsgiFunctionApp")
                return HttpTrigger(frozenset(str(method) for method in binding.get("methods") or ()))
            case other:
                self._refuse(f"trigger of unknown type {other}")
                return None

    def _bus(self, binding: dict[str, Any]) -> BusTrigger:
        # Sessions and batches change how a message is locked and settled; nothing here needs them.
        if binding.get("isSessionsEnabled"):
            self._refuse("sessions are not supported")
        if str(binding.get("cardinality") or "one").lower() != "one":
            self._refuse("batches (cardinality many) are not supported")
        keys = ("queueName",) if "queueName" in binding else ("topicName", "subscriptionName")
        return BusTrigger("/".join([self._resolve(binding, key) for key in keys]))

    def _timer(self, binding: dict[str, Any]) -> TimerTrigger:
        schedule = self._resolve(binding, "schedule")
        is_ncrontab = len(schedule.split()) == 6 and croniter.is_valid(schedule, second_at_beginning=True)
        if not self.problems and not is_ncrontab:
            self._refuse(f"schedule {schedule!r} is not NCRONTAB with six fields")
        return TimerTrigger(schedule, bool(binding.get("runOnStartup")))

    def _resolve(self, binding: dict[str, Any], key: str) -> str:
        """The text under `key`, its `%SETTING%` replaced."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in self._environment:
                self._refuse(f"the setting {match[1]} (used by {key}) is not in the environment")
            return self._environment.get(match[1], "")

        text = binding.get(key)
        if not text:
            self._refuse(f"binding {binding['name']} has no {key}")
        return _SETTING.sub(value, text or "")

    def _refuse(self, text: str) -> None:
        self.problems.append(f"function {self.name}: {text}")
