"""What functions/dispatch.py makes of a trigger's message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.functions.servicebus import ServiceBusMessage  # the worker's own; `azure.functions` has an interface

from functions.dispatch import Dispatcher, as_message
from shared.domain.run import Status
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.runner import EARLY, EARLY_WAITS_S, RETRY, Handled, Runner
from tests.fresh_process import fresh_process
from tests.unit.shared.support import drop, take


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with fresh_process(tmp_path, monkeypatch) as found:
        yield found


def message(body: bytes, properties: dict[Any, Any] | None) -> ServiceBusMessage:
    return ServiceBusMessage(body=body, message_id="m", application_properties=properties, user_properties={})  # type: ignore[arg-type]


def handle(services: Services, brought: ServiceBusMessage) -> Handled | None:
    return Dispatcher(lambda: services).handle(BY_NAME["validate_dataset"], brought)


def uploaded(services: Services, properties: dict[Any, Any] | None) -> ServiceBusMessage:
    """The message that a drop's `dataset.uploaded` comes in."""
    run = drop(services, Runner(services))
    assert run is not None
    assert run.status is Status.RECEIVED
    (received,) = take(services, "pipeline/validate_dataset")
    return message(received.message.body, properties)


@pytest.mark.parametrize(
    "properties",
    [
        None,
        {},
        {"Diagnostic-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"x-route": "east", "priority": 2.5, "flag": None},
        {b"Diagnostic-Id": b"00-0af7", b"x-opt\xff": b"\xff"},
        {RETRY: "soon"},
        {RETRY: ""},
        {RETRY: "-3"},
        {RETRY: "1e3"},
        {RETRY: "9" * 5000},
        {EARLY: "9" * 5000},
        {EARLY: "-1"},
        {RETRY: None, EARLY: []},
        {RETRY: "3"},
        {RETRY.encode(): b"3"},
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_event_is_handled_whatever_application_properties_it_has(
    services: Services, properties: dict[Any, Any] | None
) -> None:
    assert (
        Dispatcher(lambda: services).handle(BY_NAME["validate_dataset"], uploaded(services, properties))
        is Handled.APPLIED
    )


@pytest.mark.parametrize(
    ("properties", "handled"),
    [
        ({}, Handled.EARLY),
        ({EARLY: "2"}, Handled.EARLY),
        ({EARLY: str(len(EARLY_WAITS_S))}, Handled.IGNORED),
        ({EARLY.encode(): str(len(EARLY_WAITS_S)).encode()}, Handled.IGNORED),
        ({EARLY: 99}, Handled.IGNORED),
        ({EARLY: "-1"}, Handled.EARLY),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_runners_own_count_of_an_event_from_the_future_is_read(
    services: Services, properties: dict[Any, Any], handled: Handled
) -> None:
    body = uploaded(services, None).get_body()
    future = body.replace(b'"revision":1', b'"revision":9')
    assert future != body
    assert handle(services, message(future, properties)) is handled


def test_properties_of_others_travel_on_as_text() -> None:
    brought = message(b"{}", {b"Diagnostic-Id": b"00-0af7", "priority": 2})
    assert as_message(brought).properties == {"Diagnostic-Id": "00-0af7", "priority": "2"}
