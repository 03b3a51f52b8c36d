"""A trigger's value as the Azure Functions worker makes it, and the one log line each call leaves."""

import logging
import time
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

logger = logging.getLogger("local_stack.host")


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
