"""The runner: one conditional batch per transition, publishing after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import RETRY_RULES, FailureClass, InvalidInput, PermanentFailure, Transient
from shared.domain.events import (
    CancelRequested,
    Event,
    EventData,
    QuotaMissing,
    RetryDue,
    RunFailed,
    RunOverdue,
    StageRefused,
    ValidationPassed,
)
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Deployment, Recipe
from shared.domain.run import NON_TERMINAL, Attention, Run, Status
from shared.embedded.bus import SqliteEventBus
from shared.pipeline import BY_NAME, TOPOLOGY, Stage, deadline
from shared.ports import EventBus, Message, Services
from shared.records import outbox
from shared.records.outbox import Outgoing
from shared.records.unreadable import unreadable
from shared.runner import EARLY, EARLY_WAITS_S, MAX_NOTE, RETRY, Handled, Runner
from shared.step_support.outcome import Draft, Outcome, event_of
from shared.steps.receive_dataset import Reception
from shared.steps.reconcile import overdue
from tests.clock import ManualClock
from tests.unit.shared.support import ROW, drop, events_at, passes, take, validating


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created


@pytest.fixture
def uploaded(run: Run, services: Services) -> Event[EventData]:
    (event,) = events_at(services, "validate_dataset")
    return event


def now(runner: Runner, run: Run) -> Run:
    found = runner.load(run.id)
    assert found is not None
    return found


class UnreachableBus:
    """The real bus behind a cable that can be pulled."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self.cut = False

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        if self.cut:
            raise Transient("bus_down", "no answer")
        self._bus.send(destination, messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


def test_a_transition_writes_status_history_and_the_next_event(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    assert runner.handle(validating(passes), uploaded) is Handled.APPLIED
    moved = now(runner, run)
    assert (moved.status, moved.revision) == (Status.VALIDATED, 2)
    assert [line.status for line in moved.history] == [Status.RECEIVED, Status.VALIDATED]
    assert moved.history[-1].event_id == uploaded.id
    (event,) = events_at(services, "submit_training")
    assert isinstance(event.data, ValidationPassed)
    assert event.id == f"{run.id}.validation.passed.2"


def test_a_repeated_event_changes_nothing(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    runner.handle(validating(passes), uploaded)
    take(services, "pipeline/submit_training")
    assert runner.handle(validating(passes), uploaded) is Handled.REPEATED
    assert now(runner, run).revision == 2
    assert take(services, "pipeline/submit_training") == []


def test_what_a_crash_left_unsent_is_sent_by_the_redelivery(
    services: Services, clock: ManualClock, run: Run, uploaded: Event[EventData]
) -> None:
    bus = UnreachableBus(services.bus)
    cut_off = Runner(replace(services, bus=bus))
    bus.cut = True
    with pytest.raises(Transient):
        cut_off.handle(validating(passes), uploaded)
    assert now(cut_off, run).status is Status.VALIDATED
    assert take(services, "pipeline/submit_training") == []
    bus.cut = False
    assert cut_off.handle(validating(passes), uploaded) is Handled.REPEATED
    assert take(services, "pipeline/submit_training") == []  # its writer may be sending it right now
    clock.advance(6)
    assert cut_off.handle(validating(passes), uploaded) is Handled.REPEATED
    assert [event.short_type() for event in events_at(services, "submit_training")] == ["validation.passed"]


def test_what_a_crash_left_unsent_is_sent_by_reconcile_once_it_is_old_enough(
    services: Services, clock: ManualClock, run: Run, uploaded: Event[EventData]
) -> None:
    bus = UnreachableBus(services.bus)
    cut_off = Runner(replace(services, bus=bus))
    bus.cut = True
    with pytest.raises(Transient):
        cut_off.handle(validating(passes), uploaded)
    bus.cut = False
    assert cut_off.publish_all_unsent().count == 0
    clock.advance(6)
    assert cut_off.publish_all_unsent().count == 1
    assert cut_off.publish_all_unsent().count == 0


def test_an_event_of_another_revision_attempt_or_status_is_ignored(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    for stale in ({"revision": 0}, {"attempt": 2}):
        assert runner.handle(validating(passes), uploaded.model_copy(update=stale)) is Handled.IGNORED
    runner.handle(validating(passes), uploaded)
    late = uploaded.model_copy(update={"key": "late", "revision": 2})
    assert runner.handle(validating(passes), late) is Handled.IGNORED
    assert now(runner, run).revision == 2


def test_a_persons_cancel_holds_though_the_run_began_another_attempt_meanwhile(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    cancel = event_of(run, CancelRequested(by="ada"), run.created_at)
    runner.handle(refusing(FailureClass.PLATFORM), uploaded)
    (refused,) = events_at(services, "fail_run")
    runner.handle(BY_NAME["fail_run"], refused)
    assert now(runner, run).attempt == 2
    assert runner.handle(BY_NAME["cancel_run"], cancel) is Handled.APPLIED
    assert now(runner, run).status is Status.CANCELLED


@pytest.mark.parametrize("future", [{"run_id": "run-000000000000"}, {"revision": 9}])
def test_an_event_from_the_future_comes_again_three_times_and_is_then_left_to_reconcile(
    services: Services, clock: ManualClock, runner: Runner, uploaded: Event[EventData], future: dict[str, Any]
) -> None:
    early = uploaded.model_copy(update=future)
    for count, wait_s in enumerate(EARLY_WAITS_S):
        assert runner.handle(validating(passes), early, early=count) is Handled.EARLY
        assert take(services, "pipeline/validate_dataset") == []
        clock.advance(wait_s + 0.1)
        (copy,) = take(services, "pipeline/validate_dataset")
        assert copy.message.properties[EARLY] == str(count + 1)
    assert runner.handle(validating(passes), early, early=len(EARLY_WAITS_S)) is Handled.IGNORED


def test_of_two_handlers_of_one_event_one_applies_it(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    together = threading.Barrier(2)
    results: list[Handled] = []

    def slow(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        together.wait(timeout=60)
        return passes(event, state, ports)

    threads = [
        threading.Thread(target=lambda: results.append(runner.handle(validating(slow), uploaded))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [Handled.APPLIED, Handled.REPEATED]
    assert now(runner, run).revision == 2
    assert len(events_at(services, "submit_training")) == 1


def test_a_transient_failure_schedules_the_same_event_later_and_moves_nothing(
    services: Services, clock: ManualClock, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    def down(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        raise Transient("azure_ml_down", "503")

    assert runner.handle(validating(down), uploaded) is Handled.RETRIED
    assert runner.handle(validating(down), uploaded) is Handled.RETRIED  # the redelivery
    assert now(runner, run).revision == 1
    assert take(services, "pipeline/validate_dataset") == []
    clock.advance(1.1)
    copies = take(services, "pipeline/validate_dataset")
    assert [copy.message.properties[RETRY] for copy in copies] == ["1", "1"]
    assert len({copy.message.id for copy in copies}) == 1
    assert runner.handle(validating(passes), uploaded, retry=1) is Handled.APPLIED
    assert runner.handle(validating(passes), uploaded, retry=1) is Handled.REPEATED


def test_retries_wait_longer_each_time_up_to_a_minute(
    services: Services, clock: ManualClock, runner: Runner, uploaded: Event[EventData]
) -> None:
    def down(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        raise Transient("azure_ml_down", "503")

    waits = []
    for retry in (0, 1, 2, 3, 20, 2000):
        runner.handle(validating(down), uploaded, retry=retry)
        waited = 0
        while not take(services, "pipeline/validate_dataset"):
            clock.advance(1)
            waited += 1
        waits.append(waited)
    assert waits == [1, 2, 4, 8, 60, 60]


def refusing(failure_class: FailureClass) -> Stage:
    def refuse(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        raise PermanentFailure(failure_class, "refused", "0 of 24 cores", "NC24ads")

    return validating(refuse)


def test_a_final_failure_is_stated_and_fails_the_run(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    assert runner.handle(refusing(FailureClass.RECIPE), uploaded) is Handled.REFUSED
    assert now(runner, run).revision == 1
    (refused,) = events_at(services, "fail_run")
    assert isinstance(refused.data, StageRefused)
    assert runner.handle(BY_NAME["fail_run"], refused) is Handled.APPLIED
    failed = now(runner, run)
    assert failed.status is Status.FAILED
    assert failed.deadline_at is None
    assert failed.error is not None
    assert failed.error.problem.model_dump() == {"code": "refused", "message": "0 of 24 cores", "param": "NC24ads"}
    failures = [event.data for event in events_at(services, "notify") if isinstance(event.data, RunFailed)]
    assert [data.failure_class for data in failures] == [FailureClass.RECIPE]


def test_two_events_that_a_stage_refuses_at_one_revision_are_two_facts(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    for event in (uploaded, uploaded.model_copy(update={"key": "again"})):
        assert runner.handle(refusing(FailureClass.CODE), event) is Handled.REFUSED
    first, second = events_at(services, "fail_run")
    assert (first.revision, first.data) == (second.revision, second.data)
    assert first.id != second.id


def tries_until_the_end(
    services: Services,
    clock: ManualClock,
    runner: Runner,
    run: Run,
    event: Event[EventData],
    failure_class: FailureClass,
) -> Iterator[tuple[int, Run]]:
    """The seconds before each further try, and the run as it waits for it."""
    while True:
        runner.handle(refusing(failure_class), event)
        (refused,) = events_at(services, "fail_run")
        runner.handle(BY_NAME["fail_run"], refused)
        waiting = now(runner, run)
        if waiting.status is Status.FAILED:
            return
        waited = 0
        while not (due := [e for e in events_at(services, "validate_dataset") if isinstance(e.data, RetryDue)]):
            clock.advance(60)
            waited += 60
        (event,) = due
        assert event.attempt == waiting.attempt
        yield waited, waiting


def test_a_failure_that_others_may_repair_is_tried_again_later_as_often_as_its_class_allows(
    services: Services, clock: ManualClock, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    rule = RETRY_RULES[FailureClass.CAPACITY]
    tries = list(tries_until_the_end(services, clock, runner, run, uploaded, FailureClass.CAPACITY))
    assert [waited for waited, _ in tries] == [60 * rule.first_wait * 2**n for n in range(rule.attempts - 1)]
    assert [waiting.attempt for _, waiting in tries] == [2, 3, 4, 5, 6]
    assert "again in 120 s" in now(runner, run).history[1].note


def test_a_run_without_quota_lives_for_days_says_so_once_and_no_try_is_an_attempt(
    services: Services, clock: ManualClock, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    """In a status whose own deadline is an hour."""
    began, days = clock.now(), timedelta(0)
    for waited, waiting in tries_until_the_end(services, clock, runner, run, uploaded, FailureClass.QUOTA):
        days += timedelta(seconds=waited)
        assert (waiting.status, waiting.attempt) == (Status.RECEIVED, 1)
        assert waiting.deadline_at is not None
        assert overdue(waiting, clock.now()) is None, "it is not ended while it waits"
    assert timedelta(days=7) <= days < timedelta(days=7, hours=12)
    (missing,) = [event.data for event in events_at(services, "notify") if isinstance(event.data, QuotaMissing)]
    assert missing.until - began == timedelta(days=7)
    assert now(runner, run).status is Status.FAILED


def test_every_failure_class_has_a_retry_rule() -> None:
    assert set(RETRY_RULES) == set(FailureClass)


def test_whoever_loses_the_race_after_an_effect_undoes_it(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    undone: list[str] = []

    def overtaken(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        if state.revision == 1 and not undone:
            runner.handle(validating(passes), uploaded.model_copy(update={"key": "other"}))
        return Outcome(status=Status.VALIDATED, undo=lambda winner: undone.append(winner.status))

    assert runner.handle(validating(overtaken), uploaded) is Handled.IGNORED
    assert undone == [Status.VALIDATED]
    assert now(runner, run).revision == 2


def test_a_step_cannot_write_a_status_its_row_does_not_name(runner: Runner, uploaded: Event[EventData]) -> None:
    def jump(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        return Outcome(status=Status.DEPLOYED)

    with pytest.raises(PermanentFailure, match="illegal_transition"):
        runner.handle(validating(jump), uploaded)


def test_a_step_cannot_combine_a_status_before_and_one_after_that_its_row_names_in_other_pairs(
    runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    def goes_on(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        return Outcome(status=Status.ROLLED_BACK)

    moves = frozenset({(Status.RECEIVED, Status.VALIDATED), (Status.VALIDATED, Status.ROLLED_BACK)})
    with pytest.raises(PermanentFailure, match=r"illegal_transition.*from received to rolled_back"):
        runner.handle(replace(validating(goes_on), moves=moves), uploaded)
    assert now(runner, run).revision == 1


def test_a_step_cannot_publish_an_event_its_row_does_not_name(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    silent = replace(validating(passes), publishes=())
    with pytest.raises(PermanentFailure, match=r"undeclared_event.*validation.passed"):
        runner.handle(silent, uploaded)
    assert now(runner, run).revision == 1
    assert take(services, "pipeline/submit_training") == []


def test_a_stage_that_moves_no_run_cannot_publish_an_event_its_row_does_not_name(
    services: Services, runner: Runner, run: Run
) -> None:
    draft = Draft(RunOverdue(status=run.status.value, deadline_at=run.created_at))
    take(services, "pipeline/fail_run")
    with pytest.raises(PermanentFailure, match="undeclared_event"):
        runner.publish(run, draft, by=BY_NAME["inspect_job"])
    assert take(services, "pipeline/fail_run") == []
    runner.publish(run, draft, by=BY_NAME["reconcile"])
    assert len(take(services, "pipeline/fail_run")) == 1


@pytest.mark.parametrize(("later_s", "handled"), [(0, Handled.APPLIED), (1, Handled.IGNORED)])
def test_a_run_is_overdue_by_its_present_deadline_only_whatever_its_revision(
    services: Services, runner: Runner, run: Run, later_s: int, handled: Handled
) -> None:
    assert run.deadline_at is not None
    late = RunOverdue(status=run.status.value, deadline_at=run.deadline_at + timedelta(seconds=later_s))
    event = event_of(run.evolve(revision=run.revision - 1), late, services.clock.now())
    assert runner.handle(BY_NAME["fail_run"], event) is handled


def test_a_run_cannot_be_created_in_a_status_that_receiving_does_not_name(
    services: Services, runner: Runner, run: Run
) -> None:
    other = run.evolve(id="run-00000000beef", status=Status.VALIDATED, history=())
    with pytest.raises(PermanentFailure, match="illegal_transition"):
        runner.create(Reception(other, ()), "event-2", "Microsoft.Storage.BlobCreated")
    assert runner.load(other.id) is None


def test_every_non_terminal_status_has_a_deadline(run: Run) -> None:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(approval_hours=1.5))
    planned = run.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    lasting = {status: deadline(planned, status) for status in NON_TERMINAL}
    assert all(limit.total_seconds() > 0 for limit in lasting.values())
    assert lasting[Status.AWAITING_APPROVAL] == timedelta(minutes=90)


def test_a_decision_is_waited_for_a_week_unless_the_recipe_says_otherwise() -> None:
    assert Recipe(base_model="droptune/tiny-llama").deployment.approval_hours == 7 * 24


def test_a_failed_run_gives_its_dataset_back_and_a_rejected_one_does_not(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    again = drop(services, runner, "datasets/shop/again.jsonl")
    assert again is not None
    assert (again.status, again.duplicate_of) == (Status.DUPLICATE, run.id)
    runner.handle(refusing(FailureClass.CODE), uploaded)
    (refused,) = events_at(services, "fail_run")
    runner.handle(BY_NAME["fail_run"], refused)
    third = drop(services, runner, "datasets/shop/third.jsonl")
    assert third is not None
    assert third.status is Status.RECEIVED

    def reject(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        return Outcome(status=Status.REJECTED)

    third_uploaded = next(e for e in events_at(services, "validate_dataset") if e.run_id == third.id)
    runner.handle(validating(reject), third_uploaded)
    fourth = drop(services, runner, "datasets/shop/fourth.jsonl")
    assert fourth is not None
    assert (fourth.status, fourth.duplicate_of) == (Status.DUPLICATE, third.id)


TOO_LARGE = b'{"text": "' + b"x" * 300_000 + b'"}'


def outgoing(services: Services, kind: str) -> Message:
    """A message that a bus never takes."""
    naive = services.clock.now().replace(tzinfo=None)
    return {
        "too large": Message("m-1", "a subject", TOO_LARGE),
        "id too long": Message("m" * 129, "a subject", b"{}"),
        "due without a time zone": Message("m-1", "a subject", b"{}", {}, naive),
        "due without a time zone, long ago": Message("m-1", "a subject", b"{}", {}, naive - timedelta(days=999)),
    }[kind]


UNSENDABLE = ["too large", "id too long", "due without a time zone", "due without a time zone, long ago"]


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_what_a_bus_never_takes_is_refused_before_anything_is_written_and_its_effect_is_undone(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData], kind: str
) -> None:
    undone: list[str] = []

    def tells_too_much(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        messages = (("deliveries", outgoing(ports, kind)),)
        return Outcome(status=Status.VALIDATED, messages=messages, undo=lambda now: undone.append(now.status))

    assert runner.handle(validating(tells_too_much), uploaded) is Handled.REFUSED
    assert (now(runner, run).status, now(runner, run).revision) == (Status.RECEIVED, 1)
    assert undone == [Status.RECEIVED]
    ends_for_a_fault_of_ours(services, runner, run)


@pytest.mark.parametrize("characters", [1_600_000, 2_090_000, 3_000_000])
def test_a_run_too_large_for_the_store_or_nearly_so_ends_with_the_run_as_it_was(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData], characters: int
) -> None:
    def grows(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        return Outcome(status=Status.VALIDATED, changes={"cancel_requested_by": "x" * characters})

    assert runner.handle(validating(grows), uploaded) is Handled.REFUSED
    ends_for_a_fault_of_ours(services, runner, run)


def test_what_a_run_holds_and_nothing_can_use_is_a_refusal_and_ends_it(
    services: Services, runner: Runner, run: Run, uploaded: Event[EventData]
) -> None:
    def reads(event: Event[EventData], state: Run, ports: Services) -> Outcome:
        raise InvalidInput("bad_blob_path", "datasets/../x")

    assert runner.handle(validating(reads), uploaded) is Handled.REFUSED
    ends_for_a_fault_of_ours(services, runner, run)


def ends_for_a_fault_of_ours(services: Services, runner: Runner, run: Run) -> None:
    (refused,) = events_at(services, "fail_run")
    assert runner.handle(BY_NAME["fail_run"], refused) is Handled.APPLIED
    failed = now(runner, run)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.failure_class is FailureClass.CODE
    assert outbox.unsent(services.store, run.id, before=services.clock.now() + timedelta(days=1)) == []


@pytest.mark.parametrize("kind", ["too large", "id too long"])
def test_an_entry_that_can_never_be_sent_ends_its_run_is_gone_and_stops_no_other(
    services: Services, runner: Runner, run: Run, clock: ManualClock, kind: str
) -> None:
    others = [drop(services, runner, f"datasets/shop/{n}.jsonl", ROW.replace(b"a", b"%d" % n)) for n in range(4)]
    for number, other in enumerate([run, *others]):
        assert other is not None
        message = outgoing(services, kind) if other is run else Message(f"m-{number}", "a subject", b"{}")
        services.store.batch(other.id, [outbox.creation(Outgoing("deliveries", message), other, clock.now())])
    clock.advance(6)
    assert runner.publish_all_unsent().failed == {}
    assert {received.message.id for received in take(services, "deliveries")} == {"m-1", "m-2", "m-3", "m-4"}
    assert outbox.runs_with_unsent(services.store, before=clock.now()) == set()
    ends_for_a_fault_of_ours(services, runner, run)


NEVER_SENT: dict[str, dict[str, Any]] = {
    "no queue or topic": {"destination": "no-such-queue"},
    "a subscription": {"destination": "pipeline/notify"},
    "no destination": {"destination": None},
    "a list": {"destination": ["deliveries"]},
    "another run": {"run_id": "run-000000000001"},
    "another run's event": {"destination": "pipeline", "body": {"runid": "run-000000000001"}},
    "a delivery for another run": {"body": {"event": {"runid": "run-000000000001"}}},
    "another run in both": {"run_id": "run-000000000001", "body": {"runid": "run-000000000001"}},
    "another message": {"message_id": "m-1"},
    "no properties": {"properties": None},
    "a number as property": {"properties": {"n": 1}},
    "a number as subject": {"subject": 5},
    "no body": {"body": None},
    "no time": {"created_at": "soon"},
    "due at no time": {"scheduled_at": "soon"},
    "due before the first year of UTC": {"scheduled_at": "0001-01-01T00:00:00+14:00"},
    "due after the last": {"scheduled_at": "9999-12-31T23:59:59-14:00"},
    "from before the first year of UTC": {"created_at": "0001-01-01T00:00:00+14:00"},
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", NEVER_SENT)
def test_an_entry_for_nobody_or_about_another_run_is_set_aside_and_not_tried_again(
    services: Services, runner: Runner, run: Run, clock: ManualClock, name: str
) -> None:
    for id in ("m-1", "m-2", "m-3"):
        write = outbox.creation(Outgoing("deliveries", Message(id, "a subject", b"{}")), run, clock.now())
        assert write.document is not None
        services.store.batch(
            run.id, [replace(write, document={**write.document, **(NEVER_SENT[name] if id == "m-2" else {})})]
        )
    clock.advance(6)
    topic = len(take(services, "pipeline/notify"))
    assert runner.publish_all_unsent().failed == {}
    assert {received.message.id for received in take(services, "deliveries")} == {"m-1", "m-3"}
    assert (topic, take(services, "pipeline/notify")) == (1, [])
    assert outbox.runs_with_unsent(services.store, before=clock.now()) == set()
    assert [(one.type, one.partition, one.id) for one in unreadable(services.store, services.clock.now())] == [
        ("outbox", run.id, "outbox.m-2")
    ]
    assert runner.release_unreadable(run.id, "outbox.m-2", "ada") is not None
    assert list(unreadable(services.store, services.clock.now())) == []


def test_an_entry_whose_times_have_no_zone_is_sent(
    services: Services, runner: Runner, run: Run, clock: ManualClock
) -> None:
    write = outbox.creation(Outgoing("deliveries", Message("m", "a subject", b"{}")), run, clock.now())
    naive = clock.now().replace(tzinfo=None).isoformat()
    document = {**(write.document or {}), "created_at": naive, "scheduled_at": naive}
    services.store.batch(run.id, [replace(write, document=document)])
    clock.advance(6)
    assert runner.publish_all_unsent().failed == {}
    assert [received.message.id for received in take(services, "deliveries")] == ["m"]


def test_a_queue_that_is_missing_holds_up_no_other_message_and_gets_its_own_once_it_is_there(
    services: Services, runner: Runner, run: Run, clock: ManualClock, tmp_path: Path
) -> None:
    for id, destination in (("m-1", "deliveries"), ("m-2", "storage-events"), ("m-3", "deliveries")):
        message = Message(id, "a subject", b"{}")
        services.store.batch(run.id, [outbox.creation(Outgoing(destination, message), run, clock.now())])
    clock.advance(6)
    queues = tuple(queue for queue in TOPOLOGY.queues if queue != "deliveries")
    with closing(SqliteEventBus(tmp_path / "less.db", replace(TOPOLOGY, queues=queues), clock)) as less:
        [problem] = Runner(replace(services, bus=less)).publish_all_unsent().failed.values()
        assert problem == "unknown_entity: the bus has no entity deliveries"
        assert less.depth("storage-events") == 1
    assert runner.publish_all_unsent().failed == {}
    assert [received.message.id for received in take(services, "deliveries")] == ["m-1", "m-3"]
    assert take(services, "storage-events") == []


def test_more_entries_than_a_batch_can_mark_are_sent_in_turn(
    services: Services, runner: Runner, run: Run, clock: ManualClock
) -> None:
    for number in range(130):
        message = Message(f"m-{number}", "a subject", b"{}")
        services.store.batch(run.id, [outbox.creation(Outgoing("deliveries", message), run, clock.now())])
    clock.advance(6)
    for _ in range(3):
        assert runner.publish_all_unsent().failed == {}
    assert services.bus.depth("deliveries") == 130


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "broken", [{"run_id": None}, {"created_at": "soon"}, {"created_at": "2026-01-01"}, {"body": {}}]
)
@pytest.mark.parametrize("missing", ["", "destination", "message_id", "created_at", "run_id"])
def test_an_entry_that_cannot_be_read_stops_no_other(
    services: Services, runner: Runner, run: Run, clock: ManualClock, broken: dict[str, Any], missing: str
) -> None:
    for name in ("m-1", "m-2", "m-3"):
        write = outbox.creation(Outgoing("deliveries", Message(name, "a subject", b"{}")), run, clock.now())
        assert write.document is not None
        if name == "m-2":
            write.document.update(broken)
            write.document.pop(missing, None)
        services.store.batch(run.id, [write])
    clock.advance(6)
    runner.publish_all_unsent()
    assert {"m-1", "m-3"} <= {received.message.id for received in take(services, "deliveries")}


def test_what_a_timer_fails_at_changes_no_revision_and_stays_through_a_transition_until_it_works(
    runner: Runner, services: Services, clock: ManualClock, run: Run, uploaded: Event[EventData]
) -> None:
    """Events about the run stay true: one that was under way is applied."""
    runner.note_timer(run.id, "reconcile", "down: 503")
    since = clock.now()
    clock.advance(60)
    runner.note_timer(run.id, "reconcile", "down: 504")
    runner.note_timer(run.id, "probe_deployments", "x" * 10_000)
    noted = runner.load(run.id)
    assert noted is not None
    assert noted.attention[0] == Attention(timer="reconcile", problem="down: 503", since=since)
    assert [(one.timer, len(one.problem)) for one in noted.attention[1:]] == [("probe_deployments", MAX_NOTE)]
    assert (noted.revision, noted.history, noted.updated_at) == (run.revision, run.history, run.updated_at)
    assert runner.handle(validating(passes), uploaded) is Handled.APPLIED
    runner.note_timer(run.id, "probe_deployments", None)
    moved = runner.load(run.id)
    assert moved is not None
    assert (moved.status, moved.attention) == (Status.VALIDATED, noted.attention[:1])
    for _ in range(2):
        runner.note_timer(run.id, "reconcile", None)
    runner.note_timer("run-none", "reconcile", "down")
    ended = runner.load(run.id)
    assert ended is not None
    assert ended.attention == ()


def test_a_transition_and_a_note_at_once_are_both_there(
    runner: Runner, services: Services, run: Run, uploaded: Event[EventData]
) -> None:
    """The step's time is when the note comes: the conditional write fails and the event is handled again."""
    steps = 0

    def noted_meanwhile(event: Any, run: Run, services: Services) -> Outcome | None:
        nonlocal steps
        steps += 1
        Runner(services).note_timer(run.id, "reconcile", "down: 503")
        return passes(event, run, services)

    assert runner.handle(validating(noted_meanwhile), uploaded) is Handled.APPLIED
    moved = runner.load(run.id)
    assert moved is not None
    assert (steps, moved.status, len(moved.attention)) == (2, Status.VALIDATED, 1)
