"""The only writer of a status: one conditional batch per transition, publishing after it.

Rule 3 of docs/explanation/design-rules.md.
"""

import hashlib
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

import orjson

from shared.domain.errors import (
    FailureClass,
    InvalidInput,
    PermanentFailure,
    Problem,
    StoreConflict,
    Transient,
    shortened,
)
from shared.domain.events import Event, EventData, PersonsDecision, RunOverdue, StageRefused
from shared.domain.run import PASSED_OVER, Attention, Run, Status, Transition
from shared.domain.topology import TOPIC
from shared.pipeline import BY_NAME, RESTATED, Stage, deadline
from shared.ports import Message, Services, Write
from shared.ports.bus import check
from shared.records import budget, endpoints, outbox, runs
from shared.records.claims import endpoint_claim
from shared.records.outbox import Outgoing
from shared.records.unreadable import quarantined, take_out
from shared.step_support.loops import LoopResult, for_each
from shared.step_support.outcome import Draft, Outcome, event_of
from shared.steps.fail_run import NEXT_JOB, fail_run, release, stop_unknown_jobs
from shared.steps.receive_dataset import Reception

log = logging.getLogger(__name__)

MAX_CONFLICTS = 8
MAX_NOTE = 500  # characters
MAX_RUN_BYTES = 1_000_000  # the batch that fails it has to fit too; 100 slices and 16 graders take a tenth of it
RETRY, RETRY_AT = "retry", "droptune.retry_at"  # how often, and at which stage
EARLY = "early"
# An event from the future: the store it was written to is ahead of the one read here. Then `reconcile`'s turn.
EARLY_WAITS_S = (1.0, 5.0, 25.0)
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
# A younger entry is about to be sent by the handler that wrote it.
UNSENT_AGE = timedelta(seconds=5)


class Handled(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    REPEATED = "repeated"
    IGNORED = "ignored"
    REFUSED = "refused"
    RETRIED = "retried"
    EARLY = "early"


class Runner:
    """Moves runs. Safe to use from several threads and processes: the store decides races."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def load(self, run_id: str) -> Run | None:
        return runs.load(self.services.store, run_id)

    def create(self, reception: Reception, event_id: str, event_type: str) -> Run:
        """Store a new run with its first line of history; the same run again is republished.

        Raises InvalidInput if it is too large to be stored or told of.
        """
        run = self._entered(reception.run, event_id, event_type, Outcome())
        _require_declared(BY_NAME["receive_dataset"], None, run.status, reception.events)
        outgoing = _checked([self._outgoing(draft, run) for draft in reception.events])
        writes = [runs.creation(run), *self._outbox(run, outgoing)]
        try:
            self.services.store.batch(run.id, writes)
        except StoreConflict:
            self.publish_unsent(run.id)
            return run
        self._publish(run.id, outgoing)
        return run

    def handle(self, stage: Stage, event: Event[EventData], retry: int = 0, early: int = 0) -> Handled:
        """Apply one event to its run, once. `retry` and `early` count the copies this one is the last of.

        Raises whatever a step raises that is neither Transient nor PermanentFailure.
        """
        if stage.first is None:
            return self._handle(stage, event, retry, early)
        first = self._handle(replace(stage, step=stage.first, part="-first"), event, retry, early)
        if first in (Handled.EARLY, Handled.RETRIED):
            return first  # the copy is for both
        then = self._handle(stage, event, retry, early)
        return first if then is Handled.IGNORED else then

    def _handle(self, stage: Stage, event: Event[EventData], retry: int, early: int) -> Handled:
        for _ in range(MAX_CONFLICTS):
            stored = runs.read(self.services.store, event.run_id)
            if stored is None or stored.run.revision < event.revision:
                return self._postpone(event, early)
            run = stored.run
            marks = [outbox.inbox_mark(stage.name + part, event.id) for part in ("", stage.part)]
            mark = marks[-1]
            if any(outbox.handled(self.services.store, run.id, one) for one in dict.fromkeys(marks)):
                self.publish_unsent(run.id)
                return Handled.REPEATED
            if not fits(stage, event, run):
                log.info("%s ignores %s: run is %s", stage.name, event.id, run.log_context())
                return Handled.IGNORED
            outcome, handled = self._run_step(stage, event, run, retry)
            if outcome is None:
                return handled
            try:
                try:
                    self._apply(outcome, stored, event, mark)
                except InvalidInput as error:  # too large for the store or the bus: nothing was written
                    if outcome.undo is not None:
                        outcome.undo(run)
                    outcome, handled = _refusal(stage, event, error), Handled.REFUSED
                    self._apply(outcome, stored, event, mark)
            except StoreConflict:
                self._undo_if_overtaken(outcome, stage, event)
                continue
            return handled
        raise Transient("store_contention", f"{MAX_CONFLICTS} conflicts on {event.run_id}", event.id)

    def release_unreadable(self, partition: str, id: str, by: str) -> tuple[str, str | None] | None:
        """Keep a document that cannot be read in quarantine, and take it out. Its blob's path, and the id of a run of
        which stays what can be read; None if there is no such document.

        A run under way ends as failed, and `reconcile` undoes its work. An endpoint's record and a month's spending
        keep what can be read.
        Raises InvalidInput `document_readable` and `later_version` as `quarantined`, `production_unknown` as
        `endpoints.repair`, StoreConflict if it was changed meanwhile.
        """
        found = quarantined(self.services.store, self.services.blobs, partition, id)
        if found is None:
            return None
        stored, path = found
        store, now = self.services.store, self.services.clock.now()
        if id == budget.BUDGET:
            budget.repair(store, stored)
            return path, None
        if id == endpoints.RECORD:
            name = partition.removeprefix(endpoint_claim(""))
            endpoints.repair(store, stored, self.services.models.get_endpoint(name))
            return path, None
        if id != runs.RUN:
            take_out(store, partition, id, stored)
            return path, None
        with suppress(PermanentFailure):  # its copies alone are damaged
            whole = runs.run_of(stored)
            store.batch(partition, [runs.replacement(whole, runs.StoredRun(whole, stored))])
            return path, whole.id
        status = Status.DEPLOYED if partition in endpoints.in_production(store) else Status.RECEIVED
        run = runs.salvaged(stored, status, now)
        message = f"the run's document did not fit this version; {by} released it, and it is kept as {path}"
        problem = Problem(code="unreadable_document", message=message)
        refused = StageRefused(stage="release", failure_class=FailureClass.CODE, problem=problem)
        event = event_of(run, refused, now)
        if run.status in NEXT_JOB and not run.jobs:
            stop_unknown_jobs(run, self.services)
        outcome = Outcome(run.status, note=message) if run.terminal else fail_run(event, run, self.services)
        self._apply(outcome, runs.StoredRun(run, stored), event, outbox.inbox_mark("fail_run", event.id))
        return path, run.id

    def note_timer(self, run_id: str, timer: str, problem: str | None) -> None:
        """State on a run what a timer fails at with it, or with None that it does not any more.

        It is written when that begins and when it ends. The revision stays: events about the run stay true.
        """
        stored = runs.read(self.services.store, run_id)
        if stored is None or (problem is not None) == any(one.timer == timer for one in stored.run.attention):
            return
        attention = [one for one in stored.run.attention if one.timer != timer]
        if problem is not None:
            short, since = shortened(problem, MAX_NOTE), self.services.clock.now()
            attention.append(Attention(timer=timer, problem=short, since=since))
        noted = stored.run.evolve(attention=tuple(attention))
        self.services.store.batch(run_id, [runs.replacement(noted, stored)])

    def publish(self, run: Run, draft: Draft, by: Stage | None = None) -> Event[EventData]:
        """Publish an event that changes no run. A repeat has the same id unless its key differs.

        `by` is the stage that found it; None for what a person asks for over the API.
        """
        if by is not None:
            _require_declared(by, None, None, (draft,))
        event = event_of(run, draft.data, self.services.clock.now(), draft.key)
        self.services.bus.send(TOPIC, [_topic_message(event).message])
        return event

    def publish_unsent(self, run_id: str) -> int:
        """Send what a crash left in a run's outbox."""
        unsent = outbox.unsent(self.services.store, run_id, before=self._old_enough())
        self._publish(run_id, unsent)
        return len(unsent)

    def publish_all_unsent(self) -> LoopResult[bool]:
        """Send what crashes left in any outbox."""
        found = outbox.runs_with_unsent(self.services.store, before=self._old_enough())
        return for_each("unsent", sorted(found), lambda run_id: self.publish_unsent(run_id) > 0)

    def _old_enough(self) -> datetime:
        return self.services.clock.now() - UNSENT_AGE

    def _run_step(self, stage: Stage, event: Event[EventData], run: Run, retry: int) -> tuple[Outcome | None, Handled]:
        assert stage.step is not None
        try:
            outcome = stage.step(event, run, self.services)
        except Transient as error:
            log.warning("%s will retry %s: %s", stage.name, event.id, error)
            # Not through the outbox: until this returns, the message itself is on the bus. If it is delivered again,
            # there are two copies with one id; inbox marks make the second harmless. It is for this stage alone: if two
            # failed at the copies of both, each try would double their number.
            # What is stated again meanwhile is its own retry: each statement would begin another chain of copies.
            if not (stage.moves and isinstance(event.data, RESTATED)):
                self.services.bus.send(TOPIC, [self._retry_message(stage, event, retry + 1)])
            return None, Handled.RETRIED
        except (PermanentFailure, InvalidInput) as error:  # or what the run holds is nothing that can be used
            return _refusal(stage, event, error, run), Handled.REFUSED
        if outcome is None:
            return None, Handled.IGNORED
        _require_declared(stage, run.status, outcome.status, outcome.events)
        return outcome, Handled.APPLIED

    def _postpone(self, event: Event[EventData], early: int) -> Handled:
        """Send an event from the future again, later. It has no run whose outbox could hold it."""
        if early >= len(EARLY_WAITS_S):
            log.error("%s came %d times before its run's revision; left to reconcile", event.id, early + 1)
            return Handled.IGNORED
        due = self.services.clock.now() + timedelta(seconds=EARLY_WAITS_S[early])
        message = _topic_message(event).message
        copy = Message(f"{event.id}^{early + 1}", message.subject, message.body, {EARLY: str(early + 1)}, due)
        self.services.bus.send(TOPIC, [copy])
        return Handled.EARLY

    def _retry_message(self, stage: Stage, event: Event[EventData], retry: int) -> Message:
        """The same event again, later. Every subscription gets the copy; the others' functions ignore it."""
        # The exponent is bounded too: a float cannot hold 2 to the 1024th, which comes after 17 hours.
        wait_s = min(FIRST_RETRY_S * 2 ** min(retry - 1, 10), LONGEST_RETRY_S)
        due = self.services.clock.now() + timedelta(seconds=wait_s)
        message = _topic_message(event).message
        return Message(
            f"{event.id}~{retry}", message.subject, message.body, {RETRY: str(retry), RETRY_AT: stage.name}, due
        )

    def _apply(self, outcome: Outcome, stored: runs.StoredRun, event: Event[EventData], mark: str) -> None:
        run = moved = stored.run
        if outcome.status is not None:
            past = {"inspect_job", PASSED_OVER} - {PASSED_OVER if outcome.status is Status.TRAINED else ""}
            noted = tuple(one for one in run.attention if one.timer not in past)
            changed = run.evolve(**outcome.changes, status=outcome.status, revision=run.revision + 1, attention=noted)
            moved = self._entered(changed, event.id, event.wire_type, outcome, run)
            if moved.status is not Status.FAILED and len(moved.model_dump_json().encode()) > MAX_RUN_BYTES:
                message = f"the run would have more than {MAX_RUN_BYTES} bytes: an evaluation needs fewer slices"
                raise InvalidInput("run_too_large", message)
        outgoing = [self._outgoing(draft, moved) for draft in outcome.events]
        outgoing += [Outgoing(destination, message) for destination, message in outcome.messages]
        writes = self._outbox(moved, _checked(outgoing))
        if isinstance(event.data, PersonsDecision) and outcome.changes:  # it counts: the log of the run has it
            writes.append(outbox.creation(_topic_message(event), run, self.services.clock.now(), sent=True))
        if outcome.status is not None or outcome.events:
            # Also where nothing changes: a refusal must not be stated about a run that moved on.
            writes.insert(0, runs.replacement(moved, stored))
        writes.append(outbox.mark_handled(mark))
        self.services.store.batch(run.id, writes)
        if outcome.status is not None:
            log.info("%s -> %s by %s", run.status, moved.status, event.id, extra=moved.log_context())
        if outcome.after is not None:
            outcome.after()
        self._publish(run.id, outgoing)
        if moved.terminal and not run.terminal:
            release(self.services.store, moved, self.services.clock.now())

    def _outgoing(self, draft: Draft, run: Run) -> Outgoing:
        now = self.services.clock.now()
        due = now + draft.delay if draft.delay else None
        return _topic_message(event_of(run, draft.data, now, draft.key), due)

    def _undo_if_overtaken(self, outcome: Outcome, stage: Stage, event: Event[EventData]) -> None:
        """We lost the race after an effect: undo it unless the event still fits and comes round again."""
        run = self.load(event.run_id)
        if outcome.undo is not None and run is not None and not fits(stage, event, run):
            outcome.undo(run)

    def _entered(self, run: Run, event_id: str, event_type: str, outcome: Outcome, before: Run | None = None) -> Run:
        """The run with times, deadline and history for the status it has just entered."""
        now = self.services.clock.now()
        line = Transition(
            status=run.status, at=now, event_id=event_id, event_type=event_type, note=shortened(outcome.note, MAX_NOTE)
        )
        delay = (draft.delay for draft in outcome.events)  # what comes later is waited for beside
        ends = None if run.terminal else now + deadline(run, run.status) + max(delay, default=timedelta(0))
        if ends and before and before.deadline_at and _waits_for_the_same(before, run):
            ends = min(ends, before.deadline_at)  # what probes note of a step, or one approval of two, does not prolong
        return run.evolve(updated_at=now, deadline_at=ends, history=(*run.history, line))

    def _outbox(self, run: Run, outgoing: list[Outgoing]) -> list[Write]:
        return [outbox.creation(entry, run, self.services.clock.now()) for entry in outgoing]

    def _publish(self, run_id: str, outgoing: list[Outgoing]) -> None:
        """Send, then mark as sent. A crash between the two sends again; inboxes know repeats.

        What the bus will never take ends the run and is not tried again. What it refuses otherwise, such as for a queue
        that is missing, holds up nothing else: the first refusal is raised at the end.
        """
        if not outgoing:
            return
        refused: dict[str, PermanentFailure] = {}
        for entry in outgoing:
            try:
                self.services.bus.send(entry.destination, [entry.message])
            except InvalidInput as error:
                log.error("%a can never be sent, and its run ends: %s", entry.message.id, error.problem.message)
                self.refuse(run_id, "publish", error.problem)
            except PermanentFailure as error:
                refused[entry.message.id] = error
        try:
            outbox.mark_sent(self.services.store, run_id, [one for one in outgoing if one.message.id not in refused])
        except StoreConflict:
            log.info("another handler published the outbox of %s too", run_id)
        if refused:
            raise next(iter(refused.values()))

    def refuse(self, run_id: str, stage: str, problem: Problem) -> None:
        """State that the program cannot go on with a run, if it has not ended: class `code` ends it."""
        run = self.load(run_id)
        if run is not None and not run.terminal:
            refused = StageRefused(stage=stage, failure_class=FailureClass.CODE, problem=problem)
            self.publish(run, Draft(refused, key=stage))


def _waits_for_the_same(before: Run, run: Run) -> bool:
    if before.status is run.status is Status.AWAITING_APPROVAL:
        return True
    if before.rollout is None or run.rollout is None:
        return False
    return (before.status, before.rollout.step) == (run.status, run.rollout.step)


def _checked(outgoing: list[Outgoing]) -> list[Outgoing]:
    """Before anything is written. Raises InvalidInput for a message that the bus would never take."""
    for entry in outgoing:
        check(entry.message)
    return outgoing


def _refusal(
    stage: Stage, event: Event[EventData], error: PermanentFailure | InvalidInput, run: Run | None = None
) -> Outcome:
    """The fact, and a line in the history of a run that has ended. That `notify` failed is nothing a run is told."""
    log.error("%s refuses %s: %s", stage.name, event.id, error)
    if not stage.moves:
        return Outcome()
    failure_class = error.failure_class if isinstance(error, PermanentFailure) else FailureClass.CODE
    refused = StageRefused(stage=stage.name, failure_class=failure_class, problem=error.problem)
    # Two events that one stage refuses at one revision are two facts.
    key = f"{stage.name}.{hashlib.sha256(event.id.encode()).hexdigest()[:8]}"
    status = run.status if run is not None and run.terminal else None
    return Outcome(status, events=(Draft(refused, key=key),), note=str(error))


def _require_declared(stage: Stage, before: Status | None, after: Status | None, drafts: tuple[Draft, ...]) -> None:
    """Raises PermanentFailure `illegal_transition` or `undeclared_event` for what the stage's row does not name."""
    if after is not None and (before, after) not in stage.moves:
        message = f"{stage.name} may not move a run from {before or 'nothing'} to {after}"
        raise PermanentFailure(FailureClass.CODE, "illegal_transition", message)
    for draft in drafts:
        if type(draft.data) not in stage.publishes:
            message = f"{stage.name} may not publish {draft.data.short_type()}"
            raise PermanentFailure(FailureClass.CODE, "undeclared_event", message)


def fits(stage: Stage, event: Event[EventData], run: Run) -> bool:
    """Whether the event is about the run as it stands: status, attempt, revision and job agree."""
    if not stage.moves:
        return True  # it changes no run, and the event was true when it was published
    if run.status not in stage.before:
        return False
    if isinstance(event.data, RunOverdue):  # probes may change the run while this is on its way
        return event.data.deadline_at == run.deadline_at
    if not event.data.about_any_revision and (event.attempt, event.revision) != (run.attempt, run.revision):
        return False
    job = getattr(event.data, "job", None)
    return job is None or (run.job is not None and run.job.name == job)


def _topic_message(event: Event[EventData], due: datetime | None = None) -> Outgoing:
    body = orjson.dumps(event.to_cloudevent())
    return Outgoing(TOPIC, Message(event.id, event.wire_type, body, scheduled_at=due))
