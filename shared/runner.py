"""The only writer of a status: one conditional batch per transition, publishing after it (design rule 3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

from shared.domain.errors import (
    FailureClass,
    PermanentFailure,
    StoreConflict,
    Transient,
)
from shared.domain.events import Event, StageRefused
from shared.domain.run import TERMINAL, Run, Status, Transition
from shared.pipeline import TOPIC, Stage, deadline
from shared.ports import Message, Services, Stored, Write
from shared.records import claims
from shared.records.endpoints import pages
from shared.step_support.outcome import Fact, Outcome
from shared.steps.receive_dataset import Reception
from shared.steps.reconcile import give_back_dataset

log = logging.getLogger(__name__)

RUN, INBOX, OUTBOX = "run", "inbox", "outbox"
INBOX_TTL_S = 14 * 24 * 3600
SENT_TTL_S = 30 * 24 * 3600
MAX_CONFLICTS = 8
RETRY = "retry"
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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One entry of the outbox."""

    destination: str
    message: Message

    def document(self, run: Run, now: datetime) -> dict[str, Any]:
        return {
            "id": f"{OUTBOX}.{self.message.id}",
            "type": OUTBOX,
            "run_id": run.id,
            "revision": run.revision,
            "created_at": now.isoformat(),
            "sent": 0,
            "destination": self.destination,
            "message_id": self.message.id,
            "subject": self.message.subject,
            "properties": self.message.properties,
            "scheduled_at": self.message.scheduled_at.isoformat() if self.message.scheduled_at else None,
            "body": orjson.loads(self.message.body),
        }


class Runner:
    """Moves runs. Safe to use from several threads and processes: the store decides races."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def load(self, run_id: str) -> Run | None:
        stored = self.services.store.get(run_id, RUN)
        return _run_of(stored) if stored else None

    def create(self, reception: Reception, event_id: str, event_type: str) -> Run:
        """Store a new run with its first line of history; the same run again is republished."""
        run = self._entered(reception.run, event_id, event_type, "")
        outgoing = [self._stated(fact, run) for fact in reception.facts]
        writes = [Write("create", RUN, _document(run)), *self._outbox(run, outgoing)]
        try:
            self.services.store.batch(run.id, writes)
        except StoreConflict:
            self.publish_unsent(run.id)
            return run
        self._publish(run.id, outgoing)
        return run

    def handle(self, stage: Stage, event: Event, retry: int = 0, early: int = 0) -> Handled:
        """Apply one event to its run, once. `retry` and `early` count the copies this one is the last of.

        Raises whatever a step raises that is neither Transient nor PermanentFailure.
        """
        for _ in range(MAX_CONFLICTS):
            stored = self.services.store.get(event.run_id, RUN)
            if stored is None or stored.document["revision"] < event.revision:
                return self._postpone(event, early)
            run = _run_of(stored)
            mark = f"{INBOX}.{stage.name}.{event.id}"
            if self.services.store.get(run.id, mark) is not None:
                self.publish_unsent(run.id)
                return Handled.REPEATED
            if not fits(stage, event, run):
                log.info("%s ignores %s: run is %s", stage.name, event.id, run.log_context())
                return Handled.IGNORED
            outcome, handled = self._run_step(stage, event, run, retry)
            if outcome is None:
                return handled
            try:
                self._apply(outcome, stored, run, event, None if handled is Handled.RETRIED else mark)
            except StoreConflict:
                if handled is Handled.RETRIED:  # a redelivery: the copy is scheduled already
                    self.publish_unsent(run.id)
                    return handled
                self._undo_if_overtaken(outcome, stage, event)
                continue
            return handled
        raise Transient("store_contention", f"{MAX_CONFLICTS} conflicts on {event.run_id}", event.id)

    def state(self, run: Run, fact: Fact, key: str = "") -> Event:
        """Publish a fact that changes no run; a repeat has the same id unless `key` differs."""
        event = fact.at(run, time=self.services.clock.now(), key=key)
        self.services.bus.send(TOPIC, [_topic_message(event).message])
        return event

    def publish_unsent(self, run_id: str) -> int:
        """Send what a crash left in a run's outbox."""
        entries = self.services.store.list_partition(run_id, OUTBOX)
        unsent = [_outgoing_of(stored) for stored in entries if self._left_unsent(stored)]
        self._publish(run_id, unsent)
        return len(unsent)

    def publish_all_unsent(self) -> int:
        """Send what crashes left in any outbox."""
        entries = pages(self.services.store, OUTBOX, {"sent": 0})
        runs = {str(stored.document["run_id"]) for stored in entries if self._left_unsent(stored)}
        return sum(self.publish_unsent(run_id) for run_id in sorted(runs))

    def _left_unsent(self, stored: Stored) -> bool:
        limit = (self.services.clock.now() - UNSENT_AGE).isoformat()
        return not stored.document["sent"] and stored.document["created_at"] < limit

    def _run_step(self, stage: Stage, event: Event, run: Run, retry: int) -> tuple[Outcome | None, Handled]:
        assert stage.step is not None
        try:
            outcome = stage.step(event, run, self.services)
        except Transient as error:
            log.warning("%s will retry %s: %s", stage.name, event.id, error)
            return Outcome(messages=((TOPIC, self._retry_message(event, retry + 1)),)), Handled.RETRIED
        except PermanentFailure as error:
            log.error("%s refuses %s: %s", stage.name, event.id, error)
            fact = Fact(
                StageRefused,
                key=stage.name,
                stage=stage.name,
                failure_class=error.failure_class,
                problem=error.problem,
            )
            return Outcome(facts=(fact,)), Handled.REFUSED
        if outcome is None:
            return None, Handled.IGNORED
        if outcome.status is not None and outcome.status not in stage.after:
            raise PermanentFailure(
                FailureClass.CODE, "illegal_transition", f"{stage.name} may not write {outcome.status}"
            )
        return outcome, Handled.APPLIED

    def _postpone(self, event: Event, early: int) -> Handled:
        """Send an event from the future again, later. It has no run whose outbox could hold it."""
        if early >= len(EARLY_WAITS_S):
            log.error("%s came %d times before its run's revision; reconcile will look", event.id, early + 1)
            return Handled.IGNORED
        due = self.services.clock.now() + timedelta(seconds=EARLY_WAITS_S[early])
        message = _topic_message(event).message
        copy = Message(f"{event.id}^{early + 1}", message.subject, message.body, {EARLY: str(early + 1)}, due)
        self.services.bus.send(TOPIC, [copy])
        return Handled.EARLY

    def _retry_message(self, event: Event, retry: int) -> Message:
        """The same event again, later. Every subscriber sees the copy; inbox marks make it harmless."""
        # The exponent is bounded too: a float cannot hold 2 to the 1024th, which comes after 17 hours.
        wait_s = min(FIRST_RETRY_S * 2 ** min(retry - 1, 10), LONGEST_RETRY_S)
        due = self.services.clock.now() + timedelta(seconds=wait_s)
        message = _topic_message(event).message
        return Message(f"{event.id}~{retry}", message.subject, message.body, {RETRY: str(retry)}, due)

    def _apply(self, outcome: Outcome, stored: Stored, run: Run, event: Event, mark: str | None) -> None:
        moved = run
        if outcome.status is not None:
            changed = run.evolve(**outcome.changes, status=outcome.status, revision=run.revision + 1)
            moved = self._entered(changed, event.id, event.wire_type, outcome.note)
        outgoing = [self._stated(fact, moved) for fact in outcome.facts]
        outgoing += [Outgoing(destination, message) for destination, message in outcome.messages]
        writes = self._outbox(moved, outgoing)
        if outcome.status is not None or outcome.facts:
            # Also where nothing changes: a refusal must not be stated about a run that moved on.
            writes.insert(0, Write("replace", RUN, _document(moved), etag=stored.etag))
        if mark is not None:
            writes.append(Write("create", mark, {"id": mark, "type": INBOX}, ttl_s=INBOX_TTL_S))
        self.services.store.batch(run.id, writes)
        if outcome.status is not None:
            log.info("%s -> %s by %s", run.status, moved.status, event.id, extra=moved.log_context())
        self._publish(run.id, outgoing)
        if moved.terminal and not run.terminal:
            self._release(moved)

    def _stated(self, fact: Fact, run: Run) -> Outgoing:
        now = self.services.clock.now()
        due = now + fact.delay if fact.delay else None
        return _topic_message(fact.at(run, time=now), due)

    def _undo_if_overtaken(self, outcome: Outcome, stage: Stage, event: Event) -> None:
        """We lost the race after an effect: undo it unless the event still fits and comes round again."""
        run = self.load(event.run_id)
        if outcome.undo is not None and run is not None and not fits(stage, event, run):
            outcome.undo(run)

    def _entered(self, run: Run, event_id: str, event_type: str, note: str) -> Run:
        """The run with times, deadline and history for the status it has just entered."""
        now = self.services.clock.now()
        line = Transition(status=run.status, at=now, event_id=event_id, event_type=event_type, note=note)
        ends = None if run.terminal else now + deadline(run, run.status)
        return run.evolve(updated_at=now, deadline_at=ends, history=(*run.history, line))

    def _outbox(self, run: Run, outgoing: list[Outgoing]) -> list[Write]:
        documents = [entry.document(run, self.services.clock.now()) for entry in outgoing]
        return [Write("create", document["id"], document) for document in documents]

    def _publish(self, run_id: str, outgoing: list[Outgoing]) -> None:
        """Send, then mark as sent. A crash between the two sends again; inboxes know repeats."""
        if not outgoing:
            return
        for entry in outgoing:
            self.services.bus.send(entry.destination, [entry.message])
        writes = []
        for entry in outgoing:
            document_id = f"{OUTBOX}.{entry.message.id}"
            stored = self.services.store.get(run_id, document_id)
            if stored is not None and not stored.document["sent"]:
                sent = {**stored.document, "sent": 1}
                writes.append(Write("replace", document_id, sent, stored.etag, SENT_TTL_S))
        try:
            self.services.store.batch(run_id, writes)
        except StoreConflict:
            log.info("another handler published the outbox of %s too", run_id)

    def _release(self, run: Run) -> None:
        """Claims of a finished run; what a crash leaves here, `reconcile` sweeps.

        A failed or cancelled run may have left a deployment: its endpoint is given back once that is gone.
        """
        give_back_dataset(run, self.services)
        if run.recipe is not None and run.status not in (Status.FAILED, Status.CANCELLED):
            claims.release(self.services.store, claims.endpoint_claim(run.recipe.endpoint), run.id)


def fits(stage: Stage, event: Event, run: Run) -> bool:
    """Whether the event is about the run as it stands: status, attempt, revision and job agree."""
    if not stage.after:
        return True  # it only tells others; the fact was true when it was stated
    if run.status not in stage.before:
        return False
    if not event.about_any_revision and (event.attempt, event.revision) != (run.attempt, run.revision):
        return False
    job = getattr(event, "job", None)
    return job is None or (run.job is not None and run.job.name == job)


def _run_of(stored: Stored) -> Run:
    return Run.model_validate(stored.document["run"])


def _document(run: Run) -> dict[str, Any]:
    """Top-level copies are what the store filters by."""
    return {
        "id": RUN,
        "type": RUN,
        "run_id": run.id,
        "project": run.project,
        "revision": run.revision,
        "status": run.status.value,
        "finished": int(run.status in TERMINAL),
        "created_at": run.created_at.isoformat(),
        "run": run.model_dump(mode="json"),
    }


def _topic_message(event: Event, due: datetime | None = None) -> Outgoing:
    body = orjson.dumps(event.to_cloudevent())
    return Outgoing(TOPIC, Message(event.id, event.wire_type, body, scheduled_at=due))


def _outgoing_of(stored: Stored) -> Outgoing:
    entry = stored.document
    due = entry["scheduled_at"]
    return Outgoing(
        entry["destination"],
        Message(
            id=entry["message_id"],
            subject=entry["subject"],
            body=orjson.dumps(entry["body"]),
            properties=entry["properties"],
            scheduled_at=datetime.fromisoformat(due) if due else None,
        ),
    )
