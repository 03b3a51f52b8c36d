"""The functions host as it is in an app with tracing on: every message it sends has properties that are not ours.

    python -m tests.stack.traced_host HOST-OPTIONS...

azure-servicebus writes them once an SDK tracing plug-in is set (`azure/servicebus/_common/tracing.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from local_stack import host
from shared.embedded.bus import SqliteEventBus
from shared.ports import Message

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACING = {"Diagnostic-Id": TRACE, "traceparent": TRACE, "tracestate": "vendor=1"}

_send = SqliteEventBus.send


def _send_traced(self: SqliteEventBus, destination: str, messages: Sequence[Message]) -> None:
    _send(self, destination, [replace(message, properties={**message.properties, **TRACING}) for message in messages])


if __name__ == "__main__":
    SqliteEventBus.send = _send_traced  # type: ignore[method-assign]
    sys.exit(host.main(sys.argv[1:]))
