"""What functions/dispatch.py makes of a trigger's message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.functions.servicebus import ServiceBusMessage  # the worker's own; `azure.functions` has an interface

from functions.dispatch import (
    FAILED,
    FAILED_AT,
    FAILED_WAITS_S,
    LATER_VERSION_WAITS_S,
    REPLAYED,
    Dispatcher,
    as_message,
)
from functions.stages import stage_functions
from shared.domain.commands import StartRun
from shared.domain.errors import FailureClass, LaterVersion, StoreConflict, Transient
from shared.domain.events import CancelRequested, DatasetUploaded, StageRefused
from shared.domain.run import Status
from shared.domain.topology import TOPIC
from shared.embedded.bus import SqliteEventBus
from shared.pipeline import BY_NAME, STAGES, TOPOLOGY
from shared.ports import Message, ReceivedMessage, Services
from shared.runner import EARLY, EARLY_WAITS_S, RETRY, RETRY_AT, Handled, Runner
from tests.clock import ManualClock
from tests.fresh_process import fresh_process
from tests.unit.shared.support import drop, events_at, take


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


@pytest.mark.few_cases(3)
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


def brought(received: ReceivedMessage) -> ServiceBusMessage:
    """As the host hands it over."""
    sent = received.message
    properties: dict[Any, Any] = dict(sent.properties)
    return ServiceBusMessage(
        body=sent.body, message_id=sent.id, label=sent.subject, application_properties=properties, user_properties={}
    )


@pytest.fixture
def later(services: Services, tmp_path: Path) -> Iterator[Services]:
    """On a clock of its own, and a bus by that clock."""
    clock = ManualClock()
    bus = SqliteEventBus(tmp_path / "later.db", TOPOLOGY, clock)
    yield replace(services, clock=clock, bus=bus)
    bus.close()


FAULTS = [
    ValueError("int() of 00-0af7"),
    AttributeError("'list' object has no attribute 'get'"),
    Transient("store_contention", "8 conflicts"),
    StoreConflict("a document"),
    OSError(5, "Input/output error"),
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", ["validate_dataset", "inspect_job"])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_message_that_fails_waits_longer_each_time_before_the_host_gives_it_up(
    later: Services, name: str, fault: Exception
) -> None:
    stage, clock = BY_NAME[name], later.clock
    assert isinstance(clock, ManualClock)
    entity = stage.queue or f"{TOPIC}/{name}"
    subject = stage.wakes[0].wire_type if stage.wakes else "Polled"
    sent = Message("m-1", subject, b"{}", {"Diagnostic-Id": "00-0af7", RETRY: "2"})
    later.bus.send(stage.queue or TOPIC, [sent])

    def fails(_: object) -> None:
        raise fault

    waits: list[float] = []
    while True:
        begun = clock.now()
        while not (found := take(later, entity)):
            clock.advance(1)
        waits.append((clock.now() - begun).total_seconds())
        [received] = found
        assert (received.message.id, received.message.subject, received.message.body) == ("m-1", subject, b"{}")
        assert received.message.properties[RETRY] == "2"
        assert len(waits) == 1 or "Diagnostic-Id" not in received.message.properties
        try:
            Dispatcher(lambda: later).attempt(stage, fails, brought(received))
        except type(fault):
            break
    assert waits == [0, *FAILED_WAITS_S]


NEEDED = ["validate_dataset", "conclude_validation", "submit_training", "inspect_job", "submit_evaluation"]
NEEDED += ["apply_gate", "record_decision", "deploy_model"]


@pytest.mark.parametrize("name", [stage.name for stage in STAGES])
@pytest.mark.parametrize("fault", [ValueError("row 7"), Transient("busy", "later")], ids=["bug", "outage"])
def test_a_bug_that_lasts_ends_the_run_where_nothing_else_begins_again(
    later: Services, name: str, fault: Exception
) -> None:
    run = drop(later, Runner(later))
    assert run is not None
    stage, id = BY_NAME[name], f"{run.id}.anything.happened.1"
    last = {FAILED: str(len(FAILED_WAITS_S)), FAILED_AT: name}
    now = later.clock.now()
    received = ReceivedMessage(Message(id, "s", b"{}", last), "", "", now, 1, 1, now)

    def fails(_: object) -> None:
        raise fault

    with pytest.raises(type(fault)):
        Dispatcher(lambda: later).attempt(stage, fails, brought(received))
    facts = [event.data for event in events_at(later, "fail_run") if isinstance(event.data, StageRefused)]
    ends = name in NEEDED and isinstance(fault, ValueError)
    assert [(fact.failure_class, fact.problem.code) for fact in facts] == [
        (FailureClass.CODE, "unforeseen_error")
    ] * ends
    assert "row 7" not in str(facts)


def test_of_what_timers_state_at_each_tick_one_message_becomes_a_dead_letter(later: Services) -> None:
    stage, last = BY_NAME["advance_rollout"], str(len(FAILED_WAITS_S))
    entity = f"{TOPIC}/{stage.name}"

    def fails(_: object) -> None:
        raise ValueError("a bug")

    def waits(tick: int, properties: dict[Any, Any]) -> bool:
        """Whether it comes again later."""
        id = f"run-0123456789ab.deployment.probed.6.{tick}"
        sent = Message(id, stage.wakes[0].wire_type, b"{}", properties)
        now = later.clock.now()
        Dispatcher(lambda: later).attempt(stage, fails, brought(ReceivedMessage(sent, entity, "", now, 1, 1, now)))
        later.clock.advance(300)  # type: ignore[attr-defined]
        return bool(take(later, entity))

    failed = [{FAILED: str(number), FAILED_AT: stage.name} for number in range(len(FAILED_WAITS_S))]
    assert [waits(1, {}), waits(2, {}), *(waits(1, properties) for properties in failed)] == [True] * 8
    assert [waits(2, failed[1]), waits(3, {})] == [False, False]
    assert waits(1, {REPLAYED: "1"})
    with pytest.raises(ValueError, match="a bug"):
        waits(1, {FAILED: last})


@pytest.mark.parametrize("failed", [0, 6, 1000])
def test_an_event_of_a_later_version_is_put_off_for_a_host_of_that_version_and_not_quarantined(
    later: Services, failed: int
) -> None:
    assert isinstance(later.clock, ManualClock)
    stage, dispatcher = BY_NAME["validate_dataset"], Dispatcher(lambda: later)
    body = b'{"type": "droptune.dataset.split.v2", "schemaversion": 2, "id": "m-1"}'
    properties = {FAILED: str(failed), FAILED_AT: stage.name} if failed else {}
    later.bus.send(TOPIC, [Message("m-1", DatasetUploaded.wire_type, body, properties)])
    [received] = take(later, f"{TOPIC}/{stage.name}")
    dispatcher.attempt(stage, lambda message: dispatcher.handle(stage, message), brought(received))
    later.clock.advance(1 if failed == 0 else 60)
    [copy] = take(later, f"{TOPIC}/{stage.name}")
    assert (copy.message.body, copy.message.properties[FAILED]) == (body, str(failed + 1))
    assert list(later.blobs.list("quarantine/")) == []


def test_an_event_of_a_later_version_that_no_host_took_for_a_day_becomes_a_dead_letter(later: Services) -> None:
    def fails(_: object) -> None:
        raise LaterVersion("later_version", "event: schema version 2")

    properties = {FAILED: str(len(LATER_VERSION_WAITS_S)), FAILED_AT: "validate_dataset"}
    assert timedelta(seconds=sum(LATER_VERSION_WAITS_S)) >= timedelta(days=1)
    with pytest.raises(LaterVersion):
        Dispatcher(lambda: later).attempt(BY_NAME["validate_dataset"], fails, message(b"{}", properties))


def test_a_retry_of_one_stage_is_nothing_to_the_others_of_the_topic(later: Services) -> None:
    """Also if it fails by a bug before it fails for now again."""
    retry = Message("m-1~1", DatasetUploaded.wire_type, b"{}", {RETRY: "1", RETRY_AT: "validate_dataset"})
    calls: list[str] = []

    def fails(_: object) -> None:
        calls.append("validate_dataset")
        raise ValueError

    later.bus.send(TOPIC, [retry])
    assert isinstance(later.clock, ManualClock)
    for wait_s in FAILED_WAITS_S[:2]:
        for name in ("validate_dataset", "notify"):
            [copy] = take(later, f"{TOPIC}/{name}")
            Dispatcher(lambda: later).attempt(BY_NAME[name], fails, brought(copy))
        later.clock.advance(wait_s)
    assert calls == ["validate_dataset"] * 2


def test_the_copy_for_one_function_is_nothing_to_the_others_of_the_topic(later: Services) -> None:
    stage, others = BY_NAME["validate_dataset"], BY_NAME["notify"]
    later.bus.send(TOPIC, [Message("m-1", DatasetUploaded.wire_type, b"{}")])
    calls: list[str] = []

    def fails(_: object) -> None:
        raise ValueError

    [first] = take(later, f"{TOPIC}/{stage.name}")
    take(later, f"{TOPIC}/{others.name}")
    Dispatcher(lambda: later).attempt(stage, fails, brought(first))
    assert isinstance(later.clock, ManualClock)
    later.clock.advance(FAILED_WAITS_S[0])
    for one in (stage, others):
        [copy] = take(later, f"{TOPIC}/{one.name}")
        Dispatcher(lambda: later).attempt(one, lambda message, name=one.name: calls.append(name), brought(copy))  # type: ignore[misc]
    assert calls == [stage.name]


@pytest.mark.parametrize(
    "properties",
    [
        {FAILED: "9" * 5000, FAILED_AT: "notify"},
        {FAILED: "x", FAILED_AT: "notify"},
        {FAILED: "1", FAILED_AT: "somebody else"},
        {FAILED_AT: "notify"},
        {RETRY: "1", RETRY_AT: "somebody else"},
        {RETRY: "0", RETRY_AT: "notify"},
        {RETRY_AT: "notify"},
        {RETRY: "1"},  # of a host of an earlier version
        {FAILED: "-1"},
    ],
    ids=lambda value: str(value)[:60],
)
def test_properties_that_are_not_ours_keep_no_message_from_its_function(
    services: Services, properties: dict[Any, Any]
) -> None:
    calls: list[object] = []
    Dispatcher(lambda: services).attempt(BY_NAME["validate_dataset"], calls.append, message(b"{}", properties))
    assert len(calls) == 1


def intake(run_id: str, wire_type: str) -> Iterator[tuple[str, bytes]]:
    """Bodies that are no event, or one of a field that no version would write."""
    deep, event = "[" * 900 + "]" * 900, {
        "type": wire_type, "runid": run_id, "attempt": 1, "revision": 1, "time": "2026-01-01T00:00:00Z",
        "source": "/projects/shop", "subject": "/blobServices/default/containers/datasets/blobs/shop/none.jsonl",
        "data": {"by": "ada", "url": "https://example.com", "attempt": 1, "event": {"id": "e", "type": "t"}},
    }  # fmt: skip
    text = orjson.dumps({**event, "schemaversion": 1}).decode()[1:-1]
    data = orjson.dumps(event["data"]).decode()[1:-1]
    later = {**event, "revision": 9, "attempt": "1" * 60}
    yield "60 digits in an event of the future", orjson.dumps(later)
    yield from {
        "empty": b"", "no JSON": b"{", "NaN": b'{"revision": NaN}', "invalid UTF-8": b'{"type": "\xff\xfe"}',
        "a list": b"[]", "null": b"null", "a text": b'"x"', "deep alone": deep.encode(), "large": b"x" * 300_000,
        "large list": b'{"data": [' + b"1," * 150_000 + b"1]}",
    }.items()  # fmt: skip
    for name, value in {
        "deep": deep, "60 digits": "1" * 60, "60 digits as text": f'"{"1" * 60}"', "19 digits": "9" * 19,
        "negative": "-1", "infinite": "1e999", "half a pair": '"\\ud800"', "NUL": '"a\\u0000b"', "null": "null",
        "large": f'"{"x" * 300_000}"', "an object": "{}", "a list": "[]", "a slash": '"a/b"', "no time": '"soon"',
        "the last year": '"9999-12-31T23:59:59-14:00"', "true": "true",
    }.items():  # fmt: skip
        for field in (
            "type",
            "runid",
            "attempt",
            "revision",
            "time",
            "source",
            "schemaversion",
            "id",
            "extra",
            "subject",
        ):
            # Of duplicate keys the last one counts.
            yield f"{name} as {field}", f'{{{text}, "{field}": {value}}}'.encode()
        for field in ("by", "key", "extra", "url", "event", "attempt", "job", "report", "deployment"):
            yield f"{name} in data.{field}", f'{{{text}, "data": {{{data}, "{field}": {value}}}}}'.encode()


BY_MESSAGE = [stage.name for stage in STAGES if not stage.timer]
OFTEN = ["cancel_run"]


@pytest.mark.parametrize("names", [OFTEN, pytest.param(BY_MESSAGE, marks=pytest.mark.slow)], ids=["some", "every"])
def test_whatever_comes_over_the_bus_is_handled_or_kept_in_quarantine(
    services: Services, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    """No function raised: a topic's often, every one with the slow suite."""
    run = drop(services, Runner(services))
    assert run is not None
    functions, wrong = stage_functions(lambda: services), []
    for stage in map(BY_NAME.__getitem__, names):
        types = [cls.wire_type for cls in stage.wakes] or [StartRun.wire_type]
        wire_type = CancelRequested.wire_type if CancelRequested in stage.wakes else types[0]
        for name, body in intake(run.id, wire_type):
            caplog.clear()
            functions[stage.name](message(body, {}))
            failed = [each.getMessage()[:300] for each in caplog.records if "failed at" in each.getMessage()]
            wrong += [f"{stage.name}: {name}: {each}" for each in failed if "later_version" not in each]
    assert wrong == []
