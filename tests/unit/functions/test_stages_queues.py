"""What functions/stages.py makes of the messages of Azure and of our own commands."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.functions.servicebus import ServiceBusMessage  # the worker's own; `azure.functions` has an interface
from hypothesis import given, settings
from hypothesis import strategies as st

from functions import stages
from functions.dispatch import WAITED, Dispatcher
from shared.domain.commands import CopyBlob, InspectJob, StartRun, to_cloudevent
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.events import CancelRequested, RunOverdue
from shared.domain.jobs import JobStatus, JobView
from shared.domain.paths import run_id_of_blob
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run
from shared.domain.subscriptions import Subscription, Target
from shared.pipeline import BY_NAME
from shared.ports import Message, Services, Write
from shared.records import claims, policies, runs, waits
from shared.records.unreadable import REASON
from shared.runner import RETRY, Handled, Runner
from shared.step_support.outcome import event_of, message_of
from shared.steps import receive_dataset
from shared.steps.notify import delivery
from tests.azure_events import blob_created
from tests.fresh_process import fresh_process
from tests.subscriptions import subscribe
from tests.unit.functions.isolation import in_training
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import ROW

PATH = "datasets/shop/train.jsonl"


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("DEBOUNCE_S", "0")
    with fresh_process(tmp_path, monkeypatch) as found:
        yield found


def deliver(services: Services, function: str, sent: Message) -> None:
    brought = ServiceBusMessage(
        body=sent.body, message_id=sent.id, application_properties=sent.properties, user_properties={}
    )
    getattr(stages, function)(BY_NAME[function], Dispatcher(lambda: services), brought)


def the_run(services: Services) -> Run:
    [run] = runs.unfinished(services.store)
    return run


def quarantined(services: Services) -> list[str]:
    """Messages, each of which has its reason beside it."""
    paths = [blob.path for blob in services.blobs.list("quarantine/")]
    messages = [path for path in paths if not path.endswith(REASON)]
    assert sorted(paths) == sorted([*messages, *(path + REASON for path in messages)])
    return messages


def test_the_history_of_a_dropped_blob_names_the_event_of_azure(services: Services) -> None:
    event = blob_created(PATH, services.blobs.write(PATH, [ROW]).etag)
    for _ in range(2):
        deliver(services, "receive_dataset", event)
    [line] = the_run(services).history
    assert (line.event_id, line.event_type) == (event.id, "Microsoft.Storage.BlobCreated")
    assert the_run(services).requested_by is None


def test_the_history_of_a_run_that_had_requests_for_names_the_command(services: Services) -> None:
    command = StartRun(path=PATH, etag=services.blobs.write(PATH, [ROW]).etag, key="k", requested_by="ada")
    for _ in range(2):
        deliver(services, "receive_dataset", message_of(command))
    run = the_run(services)
    [line] = run.history
    assert (run.id, line.event_id, line.event_type) == (command.id, command.id, "droptune.run.start.v1")
    assert run.requested_by == "ada"


def test_a_dropped_blob_waits_while_the_claim_on_its_data_cannot_be_read(services: Services) -> None:
    event = blob_created(PATH, services.blobs.write(PATH, [ROW]).etag)
    deliver(services, "receive_dataset", event)
    (claim,) = claims.unsettled(services.store)
    stored = services.store.get(claim.name, claims.CLAIM)
    assert stored is not None
    services.store.batch(claim.name, [Write("replace", claims.CLAIM, {**stored.document, "owner": 5})])
    copy = "datasets/shop/again.jsonl"
    again = blob_created(copy, services.blobs.write(copy, [ROW]).etag)
    deliver(services, "receive_dataset", again)
    [waiting] = services.bus.peek("storage-events", limit=10)
    assert waiting.message.id == again.id
    assert Runner(services).release_unreadable(claim.name, claims.CLAIM, "ada") is not None
    deliver(services, "receive_dataset", again)
    assert len(list(runs.unfinished(services.store))) == 2


def test_what_a_project_drops_beyond_its_share_waits_longer_each_time_and_nobody_elses_does(services: Services) -> None:
    now = services.clock.now()
    policies.apply(services.store, PlatformPolicy(runs_at_once=2), 0, "ada", "ada", now)
    paths = [f"datasets/{name}" for name in ("shop/a.jsonl", "shop/b.jsonl", "shop/c.jsonl", "bank/a.jsonl")]
    events = [blob_created(path, services.blobs.write(path, [ROW, path.encode()]).etag) for path in paths]
    for event in (*events, events[0]):
        deliver(services, "receive_dataset", event)
    assert sorted(run.dataset.path for run in runs.unfinished(services.store)) == sorted([paths[0], paths[1], paths[3]])
    for waited in (1, 70):
        deliver(services, "receive_dataset", replace(events[2], properties={WAITED: str(waited)}))
    again = services.bus.peek("storage-events", limit=10)
    assert {one.message.id for one in again} == {events[2].id}
    dues = sorted(one.message.scheduled_at for one in again if one.message.scheduled_at)
    waits = [round((due - now).total_seconds() / 60) for due in dues]
    assert waits == [1, 2, 60]
    first = next(run for run in runs.unfinished(services.store) if run.dataset.path == paths[0])
    Runner(services).handle(BY_NAME["cancel_run"], event_of(first, CancelRequested(by="ada"), now))
    deliver(services, "receive_dataset", replace(events[2], properties={WAITED: "1"}))
    assert paths[2] in [run.dataset.path for run in runs.unfinished(services.store)]


def test_a_blob_that_is_refused_once_gets_its_run_and_one_that_stays_refused_fails_it_at_the_third_try(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, refused = services.blobs.read, list[str]()

    def refuse(path: str, **options: Any) -> Iterator[bytes]:
        refused.append(path)
        raise PermanentFailure(FailureClass.PLATFORM, "blob_refused", f"blob {path}: 403")

    monkeypatch.setattr(services.blobs, "read", refuse)
    event = blob_created(PATH, services.blobs.write(PATH, [ROW]).etag)
    for tried in (0, 1):
        deliver(services, "receive_dataset", replace(event, properties={RETRY: str(tried)}))
        assert list(runs.unfinished(services.store)) == []
    again = services.bus.peek("storage-events", limit=10)
    assert [one.message.properties for one in again] == [{RETRY: "1"}, {RETRY: "2"}]
    deliver(services, "receive_dataset", replace(event, properties={RETRY: "2"}))
    [run] = runs.page(services.store).runs
    assert run.error is not None
    assert (run.error.problem.code, len(refused)) == ("blob_refused", 3)
    monkeypatch.setattr(services.blobs, "read", read)
    other = blob_created(f"{PATH}-2.jsonl", services.blobs.write(f"{PATH}-2.jsonl", [ROW]).etag)
    deliver(services, "receive_dataset", replace(other, properties={RETRY: "2"}))
    assert the_run(services).dataset.path == f"{PATH}-2.jsonl"


@pytest.mark.parametrize("tries", [3, receive_dataset.MAX_TRIES], ids=["refused", "unreachable"])
@pytest.mark.parametrize("seed", range(8))
def test_a_blob_that_cannot_be_read_gets_all_its_tries_however_long_it_has_waited(
    services: Services, monkeypatch: pytest.MonkeyPatch, tries: int, seed: int
) -> None:
    """The project is full, and has a place, in any order: to wait is no try, and only tries of reading fail a run."""
    chance, store, reads = random.Random(seed), services.store, list[str]()
    fill = blob_created("datasets/shop/full.jsonl", services.blobs.write("datasets/shop/full.jsonl", [b"full"]).etag)
    deliver(services, "receive_dataset", fill)
    event = blob_created(PATH, event_etag := services.blobs.write(PATH, [ROW]).etag)
    before = tries - 3  # of the tries; the last three, and what comes between them, are gone through
    waited = chance.choice([0, 2 * tries])
    message = replace(event, properties={RETRY: str(before), WAITED: str(waited)})
    if before or waited:
        claims.take(store, f"reception:{PATH}:", f"reception:{PATH}:", services.clock.now())

    def refuse(path: str, **options: Any) -> Iterator[bytes]:
        reads.append(path)
        raise PermanentFailure(FailureClass.PLATFORM, "no", path) if tries == 3 else Transient("no", path)

    monkeypatch.setattr(services.blobs, "read", refuse)
    for version in range(1000):
        is_full = chance.random() < 0.7
        policy = PlatformPolicy(runs_at_once=1 if is_full else 2)
        policies.apply(store, policy, version, "ada", "ada", services.clock.now())
        deliver(services, "receive_dataset", message)
        if (ended := [run for run in runs.page(store).runs if run.dataset.path == PATH]) or version == 999:
            break
        message = services.bus.peek("storage-events", limit=1000)[-1].message
        wait = waits.read(store, run_id_of_blob(PATH, event_etag))
        assert (wait is not None) or not is_full
        if wait:
            assert wait.again_at == message.scheduled_at or not is_full
    assert [run.status for run in ended] == ["failed"]
    assert ended[0].error is not None
    assert (ended[0].error.problem.code, len(reads)) == ("no", 3)
    assert message.properties[RETRY] == str(tries - 1)


def test_how_often_a_drop_has_waited_is_kept_where_a_service_fails(services: Services) -> None:
    """Without it the copy would be taken for another request, and dropped: one is on its way already."""

    def fails(message: object) -> None:
        raise ConnectionError("the store is away")

    event = blob_created(PATH, services.blobs.write(PATH, [ROW]).etag)
    kept = {RETRY: "1", WAITED: "7"}
    brought = ServiceBusMessage(body=event.body, message_id=event.id, application_properties=kept, user_properties={})
    Dispatcher(lambda: services).attempt(BY_NAME["receive_dataset"], fails, brought)
    [copy] = services.bus.peek("storage-events", limit=10)
    assert kept.items() <= copy.message.properties.items()


@pytest.mark.parametrize(
    ("function", "body"),
    [
        ("receive_dataset", {"type": StartRun.wire_type, "data": {"path": PATH}}),
        ("receive_dataset", {"type": "Microsoft.Storage.BlobCreated", "subject": "nonsense"}),
        ("inspect_job", {"type": InspectJob.wire_type, "data": {"job": 5}}),
        ("inspect_job", {"data": 5}),
    ],
)
def test_a_malformed_message_is_kept_in_quarantine(services: Services, function: str, body: dict[str, object]) -> None:
    deliver(services, function, Message("m-1", "anything", orjson.dumps(body)))
    [path] = quarantined(services)
    assert path.startswith("quarantine/m-1-")
    reason = orjson.loads(b"".join(services.blobs.read(path + REASON)))
    assert (reason["message_id"], reason["code"].partition("_")[0]) in (("m-1", "malformed"), ("m-1", "not"))


# Among them ids that differ only in what is cut off or replaced.
IDS = (
    "",
    "..",
    ".hidden",
    "a/b",
    "a//b",
    "/",
    "a\\b",
    "a_b",
    "a b",
    "a\x00b",
    "a\ud800",
    "m.",
    "a" * 400,
    "é" * 200,
    "\U0001f600",
    "a" * 399 + "b",
    "no-id",
    "_hidden",
)


QUEUES = ["receive_dataset", "receive_event", "inspect_job", "deliver_notification"]


@pytest.mark.parametrize("function", QUEUES)
def test_a_malformed_message_of_any_id_is_kept_under_a_name_of_its_own(services: Services, function: str) -> None:
    for message_id in IDS:
        for _ in range(2):  # a redelivery is no second message
            deliver(services, function, Message(message_id, "anything", b"{not json"))
    assert len(quarantined(services)) == len(IDS)


def test_two_malformed_messages_of_one_id_are_both_kept(services: Services) -> None:
    for body in (b"{one", b"{two"):
        deliver(services, "inspect_job", Message("", "anything", body))
    assert sorted(b"".join(services.blobs.read(path)) for path in quarantined(services)) == [b"{one", b"{two"]


class Platform:
    """Has a job that runs, unless there is an error."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def get_job(self, name: str) -> JobView:
        if self.error is not None:
            raise self.error
        return JobView(name=name, status=JobStatus.RUNNING)

    def begin_cancel(self, name: str) -> None:
        pass


@pytest.mark.parametrize(
    "error", [PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", "403"), Transient("busy", "503"), KeyError()]
)
def test_a_run_says_while_its_job_cannot_be_looked_at(services: Services, error: Exception) -> None:
    deliver(services, "receive_dataset", blob_created(PATH, services.blobs.write(PATH, [ROW]).etag))
    in_training(services, the_run(services))
    poll = message_of(InspectJob(job=f"{the_run(services).id}-training-1", poll="1"))
    platform = Platform(error)
    ports = replace(services, launcher=platform)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(type(error)):
            deliver(ports, "inspect_job", poll)
    assert [(one.timer, one.problem) for one in the_run(services).attention] == [("inspect_job", str(error))]
    platform.error = None
    deliver(ports, "inspect_job", poll)
    assert the_run(services).attention == ()


@pytest.mark.parametrize("event", [CancelRequested(by="ada"), RunOverdue])
def test_a_run_that_moved_on_says_no_more_that_its_job_could_not_be_looked_at(services: Services, event: Any) -> None:
    deliver(services, "receive_dataset", blob_created(PATH, services.blobs.write(PATH, [ROW]).etag))
    in_training(services, the_run(services))
    ports = replace(services, launcher=Platform(Transient("busy", "503")))  # type: ignore[arg-type]
    with pytest.raises(Transient):
        deliver(ports, "inspect_job", message_of(InspectJob(job=f"{the_run(services).id}-training-1", poll="1")))
    run, runner = the_run(services), Runner(ports)
    assert [one.timer for one in run.attention] == ["inspect_job"]
    if event is RunOverdue:
        event = RunOverdue(status=run.status.value, deadline_at=run.deadline_at)
    stage = "fail_run" if isinstance(event, RunOverdue) else "cancel_run"
    assert runner.handle(BY_NAME[stage], event_of(run, event, services.clock.now())) is Handled.APPLIED
    moved = runner.load(run.id)
    assert moved is not None
    assert (moved.revision, moved.attention) == (run.revision + 1, ())


def test_a_look_at_a_job_of_no_run_of_ours_does_nothing(services: Services) -> None:
    body = orjson.dumps(to_cloudevent(InspectJob(job="run-0123456789ab-training-1", poll="1")))
    deliver(services, "inspect_job", Message("m-1", "anything", body))
    assert quarantined(services) == []


class Posts:
    """Keeps the ids it is to post, but fails at one of them."""

    def __init__(self, broken: str, fault: Exception | None) -> None:
        self.broken, self.fault = broken, fault
        self.posted: list[str] = []

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        if event["id"] == self.broken and self.fault is not None:
            raise self.fault
        self.posted.append(event["id"])
        return 204

    def problem(self, target: Target) -> str | None:
        return None


# What is wrong with one delivery: its body, or what posting it raises.
BROKEN_DELIVERIES: dict[str, bytes | Exception] = {
    "no JSON": b"\xff\xfe",
    "a list": b"[]",
    "no event": b'{"subscription": "ops-0123abcd", "attempt": 1, "event": {}}',
    "a large integer": b'{"subscription": "ops-0123abcd", "attempt": 1, "event": {"id": 1%b}}' % (b"0" * 40),
    "too large": b'{"subscription": "' + b"x" * 300_000 + b'"}',
    "another form": b'{"url": "https://example.com", "attempt": 1, "event": {"id": "x"}}',
    "transient": Transient("target_refused", "503"),
    "permanent": PermanentFailure(FailureClass.PLATFORM, "target_not_allowed", "no"),
    "a bug": AttributeError("'NoneType' object has no attribute 'id'"),
    "disk": OSError(5, "Input/output error"),
}


@pytest.mark.parametrize("name", BROKEN_DELIVERIES)
def test_one_delivery_broken_in_any_way_stops_no_other(services: Services, name: str) -> None:
    how, ids = BROKEN_DELIVERIES[name], [f"e-{number}" for number in range(7)]
    subscription = subscribe(services.store)
    victim = random.Random(name).choice(ids)
    posts = Posts(victim, how if isinstance(how, Exception) else None)
    ports, stage = replace(services, notifier=posts), BY_NAME["deliver_notification"]
    dispatcher = Dispatcher(lambda: ports)
    work = partial(stages.deliver_notification, stage, dispatcher)
    for id in ids:
        event = {**failed("run-1").to_cloudevent(), "id": id}
        body = how if id == victim and isinstance(how, bytes) else delivery(event, subscription).body
        brought = ServiceBusMessage(body=body, message_id=id, application_properties={}, user_properties={})
        dispatcher.attempt(stage, work, brought)
    assert posts.posted == [id for id in ids if id != victim]


TYPES = st.sampled_from(
    [StartRun.wire_type, CopyBlob.wire_type, InspectJob.wire_type, "Microsoft.Storage.BlobCreated", "1.0"]
    + [f"droptune.request.{act}.v1" for act in ("run", "retrain", "cancel", "rollback")]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | TYPES
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner))
NAMES = ("specversion", "id", "source", "type", "eventType", "topic", "subject", "data")
DATA = st.dictionaries(st.sampled_from(["url", "path", "etag", "key", "project", "dataset", "endpoint", "run"]), VALUES)
EVENTS = st.fixed_dictionaries({}, optional={name: SCALARS | DATA for name in NAMES})
BODIES = st.binary(max_size=200) | (EVENTS | st.lists(EVENTS, max_size=2) | VALUES).map(
    lambda one: json.dumps(one).encode()
)
PROPERTIES = st.dictionaries(
    st.text(max_size=12)
    | st.sampled_from(["retry", "droptune.failed", "droptune.waited", "cloudEvents:id"])
    | st.binary(),
    SCALARS | st.binary(max_size=20),
    max_size=4,
)
CONTENT_TYPES = st.none() | st.text(max_size=20) | st.sampled_from(["application/json", "text/plain; charset=utf-16"])


@pytest.mark.parametrize("function", QUEUES)
def test_no_message_of_others_breaks_a_function(
    services: Services, caplog: pytest.LogCaptureFixture, function: str
) -> None:
    work = stages.stage_functions(lambda: services)[function]

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(BODIES, PROPERTIES, CONTENT_TYPES, st.none() | st.text(max_size=200), st.none() | st.text(max_size=20))
    def handled(body: bytes, properties: Any, content_type: str | None, id: str | None, label: str | None) -> None:
        caplog.clear()
        names: Any = {"message_id": id, "content_type": content_type, "label": label}
        work(ServiceBusMessage(body=body, application_properties=properties, user_properties={}, **names))
        assert [one.getMessage() for one in caplog.records if "failed at" in one.getMessage()] == []

    handled()
