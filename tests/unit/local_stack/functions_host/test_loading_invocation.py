"""A call as the worker of Azure Functions makes it, and its line in the log."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import azure.functions as func

from tests.unit.local_stack.functions_host.support import eventually, message, queue_app


def test_a_message_arrives_as_azure_functions_own_type(start_host, bus):
    seen: list[func.ServiceBusMessage] = []

    def handle(msg: func.ServiceBusMessage) -> None:
        seen.append(msg)

    start_host(queue_app(handle), QUEUE="work")
    before = datetime.now(UTC)
    bus.send("work", [message("m-1", "droptune.dataset.uploaded.v1", tenant="härtig", attempt="1")])
    eventually(lambda: bus.depth("work") == 0)

    [msg] = seen
    assert isinstance(msg, func.ServiceBusMessage)
    assert msg.message_id == "m-1"
    assert msg.subject == msg.label == "droptune.dataset.uploaded.v1"
    assert msg.get_body() == b'{"id": "m-1"}'
    assert msg.application_properties == {"tenant": "härtig", "attempt": "1"}
    assert msg.delivery_count == 1
    assert msg.lock_token
    assert msg.enqueued_time_utc is not None
    assert msg.locked_until is not None
    assert before <= msg.enqueued_time_utc <= datetime.now(UTC)
    assert msg.locked_until > msg.enqueued_time_utc


def test_no_body_is_logged(start_host, bus, caplog):
    def handle(msg: func.ServiceBusMessage) -> None:
        raise ValueError("refused")

    with caplog.at_level(logging.DEBUG):
        start_host(queue_app(handle), QUEUE="work")
        bus.send("work", [message("m")])
        eventually(lambda: caplog.text.count("id=m outcome=abandoned") == 3)  # logged after it is settled
    assert '{"id"' not in caplog.text
