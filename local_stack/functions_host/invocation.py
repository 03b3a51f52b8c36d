"""Calling a function as the Azure Functions worker does, and the one log line each call leaves."""

import asyncio
import inspect
import logging
import secrets
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions._abc import RetryContext, RpcException, TraceContext  # in no public module
from azure.functions.meta import Datum

from local_stack.functions_host.loading import LocalFunction

logger = logging.getLogger("local_stack.host")


class _Trace(TraceContext):
    trace_state = ""
    trace_parent = ""
    attributes: dict[str, str] = {}

    def __init__(self) -> None:
        self.trace_parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"  # W3C, not sampled


class _NoRetry(RetryContext):
    """The host retries nothing by itself, as Azure's does for Service Bus."""

    retry_count = 0
    max_retry_count = 0
    exception: RpcException = None  # type: ignore[assignment]  # so it is in Azure on a first attempt


class _Context(func.Context):
    thread_local_storage = threading.local()  # type: ignore[assignment]  # an instance in Azure too
    function_name = ""
    function_directory = ""
    invocation_id = ""
    trace_context: TraceContext = _Trace()
    retry_context: RetryContext = _NoRetry()

    def __init__(self, function: LocalFunction) -> None:
        self.function_name = function.name
        self.function_directory = str(Path(function.call.__code__.co_filename).parent)
        self.invocation_id = str(uuid.uuid4())
        self.trace_context = _Trace()


class Invoker:
    """Runs `async def` functions on the host's one event loop, plain ones in the calling thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call(self, function: LocalFunction, value: Any) -> Any:
        """Call and wait, from any thread but the loop's; whatever the function raises comes through."""
        if not inspect.iscoroutinefunction(function.call):
            return function.call(**_arguments(function, value))
        coroutine = function.call(**_arguments(function, value))
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def call_from_loop(self, function: LocalFunction, value: Any) -> Any:
        """The same on the event loop, which a plain function must not block."""
        if inspect.iscoroutinefunction(function.call):
            return await function.call(**_arguments(function, value))
        return await asyncio.to_thread(function.call, **_arguments(function, value))


def _arguments(function: LocalFunction, value: Any) -> dict[str, Any]:
    arguments = {function.argument: value}
    if function.takes_context:
        arguments["context"] = _Context(function)
    return arguments


def converter_for(binding_type: str) -> Any:
    """The class that azure-functions' own worker would convert with."""
    return func.get_binding_registry().get(binding_type)


def decode(binding_type: str, data: Datum, metadata: dict[str, Datum] | None = None) -> Any:
    """The trigger's value, made by the library."""
    return converter_for(binding_type).decode(data, trigger_metadata=metadata or {})


def log_invocation(function: str, id: str, outcome: str, started: float, *, error: BaseException | None = None) -> None:
    """One line; `started` is from `time.perf_counter`. An error adds its traceback, never a message body."""
    elapsed_ms = (time.perf_counter() - started) * 1000
    logger.log(
        logging.ERROR if error else logging.INFO,
        "function=%s id=%s outcome=%s ms=%.1f",
        function,
        id,
        outcome,
        elapsed_ms,
        exc_info=error,
        extra={"function": function, "message_id": id, "outcome": outcome, "elapsed_ms": elapsed_ms},
    )
